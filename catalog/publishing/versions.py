"""Versions of the dataset, as the catalog database records them.

The storage decides what is published: the pointer names the newest version, and is written last. A database
that was restored may know less than the storage, so nothing that the pointer names is ever overwritten or
deleted because of the tables.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from upath import UPath

from catalog.core.errors import Fatal, Retry
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.earlier_runs import earlier_name
from catalog.publishing.parts import Part
from catalog.publishing.paths import POINTER
from catalog.publishing.storage import delete_version, mark_of, name_of, read_pointer, versions_in

log = logging.getLogger(__name__)
_LOCK = "publish_dataset"
# In the settings of a version: digest of the list of sensitive terms; whether decisions of moderators apply;
# what is remembered of them, which is not in the manifest, because everybody can read that.
TERMS, MODERATED, DECISIONS = "sensitive_terms", "moderated", "remembered"
MODERATED_RECORDS = "moderated_records"  # of earlier releases: media type → number that decisions leave out
AGAIN = "trigger a new run; it takes the next number."


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the dataset.

    Attributes:
        number: Its number.
        run_id: The run that writes it.
        token: Tells it from a version of the same number in a database that was restored.
        root: The folder of all versions.
        stage: See the table.
        settings: What the run was asked for.
        snapshot_number: How many snapshots its run has taken; the last one counts.
        snapshot: What the snapshot contains.
        taken_on: When it was taken.
        changes: The change set, with the number of the snapshot that it belongs to.
        summary: Numbers for the report, once it is published.
        begun_on: When it was begun.
        exported: Names under which sessions have exported the snapshot.
        horizon: The oldest transaction that ran when the snapshot was taken; None before the first.
    """

    number: int
    run_id: str
    token: str
    root: str
    stage: str
    settings: dict[str, Any]
    snapshot_number: int
    snapshot: str | None
    taken_on: datetime | None
    changes: dict[str, Any] | None
    summary: dict[str, Any] | None
    begun_on: datetime
    exported: list[str]
    horizon: int | None


_EXPRESSIONS = {"token": sql.SQL("token::text"), "snapshot_number": sql.SQL("state as snapshot_number")}
_COLUMNS = sql.SQL(", ").join(
    _EXPRESSIONS.get(name, sql.Identifier(name)) for name in Version.__struct_fields__
)


def written_to(root: UPath) -> sql.Composed:
    """Return the condition that a version is in a folder; earlier releases kept a slash at its end."""
    return sql.SQL("rtrim(root, '/') = {}").format(name_of(root))


def read(connection: Connection, number: int, lock: bool = False) -> Version:
    """Return a version.

    Raises:
        Fatal: The table does not have it.
    """
    query = sql.SQL("select {} from dataset_version where number = %s {}").format(
        _COLUMNS, sql.SQL("for update" if lock else "")
    )
    version = _fetch(connection, query, number)
    if version is None:
        raise Fatal(f"the catalog database does not know version {number}; {AGAIN}")
    return version


def of_run(connection: Connection, run_id: str) -> Version | None:
    """Return the version of a run; None if it has none yet."""
    return _fetch(
        connection, sql.SQL("select {} from dataset_version where run_id = %s").format(_COLUMNS), run_id
    )


def _fetch(connection: Connection, query: sql.Composed, key: int | str) -> Version | None:
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(query, [key]).fetchone()


def newest_settings(connection: Connection, root: UPath) -> dict[str, Any]:
    """Return the settings of the newest version of a folder; empty if this database does not know it."""
    if (pointer := read_pointer(root)) is None:
        return {}
    row = connection.execute(
        "select settings from dataset_version where token::text = %s", [pointer.token]
    ).fetchone()
    return dict(row[0]) if row else {}


def working(connection: Connection, root: UPath, run_id: str) -> Version:
    """Return the version that a run writes or has published.

    Raises:
        Fatal: A newer run has begun, the storage has a newer version, or it is another one than before.
    """
    version = of_run(connection, run_id)
    if version is None:
        raise Fatal(f"this run has no version; clear its first task with its downstream tasks, or {AGAIN}")
    with connection.transaction():
        version = read(connection, version.number, lock=True)
        _require_root(version, root)
        version = _reconciled(connection, root, version)
    if version.stage not in ("writing", "published"):
        raise Fatal(
            f"version {version.number} of this run is {version.stage}, because a newer run began; {AGAIN}"
        )
    return version


def held(connection: Connection, root: UPath, version: Version) -> Version:
    """Lock a version, until the transaction ends, and return it as it is now.

    Args:
        connection: Connection to the catalog, in a transaction.
        root: The folder of all versions.
        version: The version, as `working` returned it.

    Raises:
        Retry: The version has another state by now, or is not written any more.
        Fatal: The storage has a newer version.
    """
    current = read(connection, version.number, lock=True)
    if current.stage == "writing":
        _require_root(current, root)
        current = _reconciled(connection, root, current)
    if current.stage == "published":
        return current
    if current.stage != "writing" or current.snapshot_number != version.snapshot_number:
        raise Retry(f"version {version.number} is {current.stage}, or has another state than a moment ago.")
    return current


def _require_root(version: Version, root: UPath) -> None:
    """Raise Fatal if a version that is being written belongs to another folder."""
    if version.stage == "writing" and version.root.rstrip("/") != name_of(root):
        raise Fatal(
            f"the Variable DATASET_STORAGE was changed to {name_of(root)}, but version {version.number} of "
            f"this run is written to {version.root}. Nothing was changed; give it its former value, or "
            f"{AGAIN}"
        )


def require_sensitive(version: Version, include: bool) -> None:
    """Refuse a version that is not published yet, and is written under another setting than the current one.

    Args:
        version: The version.
        include: Whether sensitive records are to be included, as the setting is now.

    Raises:
        Fatal: The setting was changed since the run began.
    """
    if version.stage != "published" and version.settings.get("include_sensitive") != include:
        raise Fatal(
            f"the Variable DATASET_INCLUDE_SENSITIVE was changed to {str(include).lower()} since this run "
            f"began; {AGAIN}"
        )


def is_own(connection: Connection, token: str) -> bool:
    """Return whether this database has published the version with a token.

    The parts of a version name the transactions that have recorded them. A dump that is restored elsewhere
    has the rows, but not the transactions. A copy of the server's files has both.
    """
    query = (
        "select exists (select from dataset_version v join dataset_part p on p.version = v.number"
        " where v.token::text = %s and p.transaction = p.xmin::text::bigint)"
    )
    return bool(value(connection, query, [token]))


def require_own(connection: Connection, root: UPath, *, successor: bool) -> None:
    """Refuse a folder in which another catalog publishes: readers would get versions of both in turn.

    Args:
        connection: Connection to the catalog.
        root: The folder of all versions.
        successor: This catalog replaces the one that has published the newest version.

    Raises:
        Fatal: This database has not published the version that the pointer names.
    """
    pointer = read_pointer(root)
    if pointer is None or successor or is_own(connection, pointer.token):
        return
    raise Fatal(
        f"{root / POINTER} names version {pointer.version}, which this catalog database has not published: "
        "another catalog publishes to this folder, or the database was restored from a dump. Nothing was "
        "published. Give the Variable DATASET_STORAGE a folder of its own. If this catalog replaces the "
        'other one, trigger a run with the conf {"successor": true}.'
    )


def require_moderated(version: Version) -> None:
    """Refuse a version that an earlier release has begun: it may have what moderators have deleted.

    Raises:
        Fatal: It does not say whether decisions of moderators apply.
    """
    if MODERATED not in version.settings:
        raise Fatal(
            f"an earlier release began version {version.number}, without the decisions of moderators; {AGAIN}"
        )


def begin(
    connection: Connection,
    root: UPath,
    run_id: str,
    settings: Mapping[str, Any],
    plan: Callable[[], Sequence[Part]],
    *,
    first: bool = False,
    successor: bool = False,
) -> Version:
    """Return the version of a run; a new run gets a new one, and versions that others left are abandoned.

    The folders of abandoned versions are deleted.

    Args:
        connection: Connection to the catalog, in autocommit.
        root: The folder of all versions.
        run_id: The run.
        settings: What the run was asked for, for the manifest.
        plan: Splits the tables into parts.
        first: The run has not begun before, so a version of its id is of an earlier run.
        successor: See `require_own`.

    Raises:
        Fatal: The storage has a newer version than that of this run, or the pointer is not ours, or another
            catalog's; see `require_own`.
    """
    if first:
        connection.execute(
            "update dataset_version set run_id = %s where run_id = %s", [earlier_name(run_id), run_id]
        )
    own = of_run(connection, run_id)
    if own:
        _require_root(own, root)
    else:
        require_own(connection, root, successor=successor)
    parts = None if own else plan()
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
        for number in _unfinished(connection, root, run_id):
            other = _reconciled(connection, root, read(connection, number, lock=True), own=False)
            if other.stage == "writing":
                connection.execute(
                    "update dataset_version set stage = 'abandoned' where number = %s", [number]
                )
        if parts is not None and of_run(connection, run_id) is None:
            _insert(connection, root, run_id, settings, parts)
    _delete_abandoned(connection, root)
    return working(connection, root, run_id)


@contextmanager
def at_work(connection: Connection, number: int) -> Iterator[None]:
    """Keep the folder of a version, in which this session writes files; afterwards it may be deleted.

    Args:
        connection: Connection to the catalog, in autocommit.
        number: Number of the version. Its stage may have changed before, so read it again.
    """
    connection.execute("select pg_advisory_lock_shared(hashtext(%s), %s)", [_LOCK, number])
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock_shared(hashtext(%s), %s)", [_LOCK, number])


def _delete_abandoned(connection: Connection, root: UPath) -> None:
    """Delete the folders of versions that were given up, so that they do not fill the disk.

    A folder stays if a session still writes to it, if it has a manifest, which readers may use, or if the
    pointer names it, whatever the tables say; all stay where another catalog publishes. Another version can
    be written beside one that stays.
    """
    query = sql.SQL("select number from dataset_version where stage = 'abandoned' and {}")
    abandoned = {number for (number,) in connection.execute(query.format(written_to(root)))}
    if not abandoned:
        return
    pointer = read_pointer(root)
    if pointer and not is_own(connection, pointer.token):
        return  # another catalog may write to folders of these names
    kept = {pointer.version} if pointer else set()
    for number in sorted(abandoned.intersection(versions_in(root)) - kept):
        try:
            _delete_unused(connection, root, number)
        except (OSError, Retry) as error:
            log.warning("version %s, which was given up, could not be deleted: %s", number, error)


def _delete_unused(connection: Connection, root: UPath, number: int) -> None:
    with connection.transaction():
        query = "select pg_try_advisory_xact_lock(hashtext(%s), %s)"
        if value(connection, query, [_LOCK, number]) and mark_of(root, number) is None:
            log.info("deleting version %s, which was given up", number)
            delete_version(root, number)
            connection.execute("update dataset_version set stage = 'deleted' where number = %s", [number])


def _unfinished(connection: Connection, root: UPath, run_id: str) -> list[int]:
    query = sql.SQL("select number from dataset_version where stage = 'writing' and {} and run_id <> {}")
    return [number for (number,) in connection.execute(query.format(written_to(root), run_id))]


def _insert(
    connection: Connection, root: UPath, run_id: str, settings: Mapping[str, Any], parts: Sequence[Part]
) -> None:
    """Create a version above all that the table, the pointer and the folders know."""
    recorded = value(connection, "select coalesce(max(number), 0) from dataset_version")
    pointer = read_pointer(root)
    number = max(recorded, pointer.version if pointer else 0, *versions_in(root)) + 1
    connection.execute(
        "insert into dataset_version (number, run_id, root, settings, begun_on)"
        " values (%s, %s, %s, %s, clock_timestamp())",
        [number, run_id, name_of(root), Jsonb(dict(settings))],
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into dataset_part (version, number, media_type, kind, provider, lower_page, upper_page)"
            " values (%s, %s, %s, %s, %s, %s, %s)",
            [(number, p.number, p.media_type, p.kind, p.provider, p.lower, p.upper) for p in parts],
        )


def _reconciled(connection: Connection, root: UPath, version: Version, own: bool = True) -> Version:
    """Compare a version that is not recorded as published with the pointer; the row is locked.

    A run that was killed after it wrote the pointer has published its version. In a database that was
    restored, a version may be older than the pointer although it is recorded as unfinished; then it must not
    be written again.
    """
    if version.stage != "writing":
        return version
    pointer = read_pointer(root)
    if pointer is None or pointer.version < version.number:
        return version
    mark = mark_of(root, version.number)
    if mark is not None and mark.token == version.token:
        log.info("version %s is published, as the storage says; the table did not know it", version.number)
        return note_published(connection, version.number, version.summary)
    if own:
        raise Fatal(
            f"{root} has version {pointer.version}, which this run has not written, but this run would write "
            f"version {version.number}; the catalog database was probably restored. Nothing was changed; "
            f"{AGAIN}"
        )
    return version


def note_published(connection: Connection, number: int, summary: Mapping[str, Any] | None) -> Version:
    """Record that the pointer names a version, or has named it; return the version."""
    connection.execute(
        "update dataset_version set stage = 'published', summary = coalesce(%s, summary),"
        " published_on = coalesce(published_on, clock_timestamp()) where number = %s",
        [Jsonb(dict(summary)) if summary else None, number],
    )
    return read(connection, number)


def note_changes(connection: Connection, version: Version, changes: Mapping[str, Any]) -> None:
    """Record the change set of a version, with the state that it was computed from.

    Raises:
        Retry: The version has another state by now.
    """
    updated = connection.execute(
        "update dataset_version set changes = %s where number = %s and state = %s and stage = 'writing'",
        [Jsonb({**changes, "state": version.snapshot_number}), version.number, version.snapshot_number],
    ).rowcount
    if not updated:
        raise Retry(f"version {version.number} has another state than when the comparison began.")
