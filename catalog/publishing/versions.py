"""Versions of the dataset, as the catalog database records them.

The storage decides what is published: the pointer names the newest version, and is written last. A database
that was restored may know less than the storage, so nothing that the pointer names is ever overwritten or
deleted because of the tables.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from upath import UPath

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection
from catalog.publishing.storage import name_of, read_pointer

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


def last_published(connection: Connection, root: UPath) -> Version | None:
    """Return the last version that was published in a folder; None if this database knows of none."""
    query = sql.SQL(
        "select {} from dataset_version where stage = 'published' and {} order by number desc limit 1"
    )
    return _fetch(connection, query.format(_COLUMNS, written_to(root)))


def _fetch(connection: Connection, query: sql.Composed, *key: int | str) -> Version | None:
    with connection.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(query, key).fetchone()


def newest_settings(connection: Connection, root: UPath) -> dict[str, Any]:
    """Return the settings of the newest version of a folder; empty if this database does not know it.

    Without a pointer, the newest is the last one that this database has published there.
    """
    if (pointer := read_pointer(root)) is None:
        last = last_published(connection, root)
        return last.settings if last else {}
    return settings_of(connection, pointer.token)


def settings_of(connection: Connection, token: str) -> dict[str, Any]:
    """Return the settings of the version with a token; empty if this database does not know it."""
    row = connection.execute(
        "select settings from dataset_version where token::text = %s", [token]
    ).fetchone()
    return dict(row[0]) if row else {}


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


def require_moderated(version: Version) -> None:
    """Refuse a version that an earlier release has begun: it may have what moderators have deleted.

    Raises:
        Fatal: It does not say whether decisions of moderators apply.
    """
    if MODERATED not in version.settings:
        raise Fatal(
            f"an earlier release began version {version.number}, without the decisions of moderators; {AGAIN}"
        )


def note_published(connection: Connection, number: int, summary: Mapping[str, Any] | None) -> Version:
    """Record that the pointer names a version, or has named it; return the version."""
    connection.execute(
        "update dataset_version set stage = 'published', summary = coalesce(%s, summary),"
        " published_on = coalesce(published_on, clock_timestamp()) where number = %s",
        [Jsonb(dict(summary)) if summary else None, number],
    )
    return read(connection, number)


def note_changes(connection: Connection, version: Version, changes: Mapping[str, Any] | None) -> None:
    """Record the change set of a version, with the state that it was computed from, or that it has none.

    Raises:
        Retry: The version has another state by now.
    """
    noted = None if changes is None else Jsonb({**changes, "state": version.snapshot_number})
    updated = connection.execute(
        "update dataset_version set changes = %s where number = %s and state = %s and stage = 'writing'",
        [noted, version.number, version.snapshot_number],
    ).rowcount
    if not updated:
        raise Retry(f"version {version.number} has another state than when the comparison began.")
