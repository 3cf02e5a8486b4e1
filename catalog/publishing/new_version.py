"""A run gets a version of its own, and versions that earlier runs have left are abandoned."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb
from upath import UPath

from catalog.core.errors import Retry
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.earlier_runs import earlier_name
from catalog.publishing.ownership import is_own, require_own
from catalog.publishing.parts import Part
from catalog.publishing.run_version import reconciled, require_root, working
from catalog.publishing.storage import delete_version, mark_of, name_of, read_pointer, versions_in
from catalog.publishing.versions import Version, of_run, read, written_to

log = logging.getLogger(__name__)
_LOCK = "publish_dataset"


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
        require_root(own, root)
    else:
        require_own(connection, root, successor=successor)
    parts = None if own else plan()
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [_LOCK])
        for number in _unfinished(connection, root, run_id):
            other = reconciled(connection, root, read(connection, number, lock=True), own=False)
            if other.stage == "writing":
                connection.execute(
                    "update dataset_version set stage = 'abandoned' where number = %s", [number]
                )
        if parts is not None and of_run(connection, run_id) is None:
            _insert(connection, root, run_id, settings, parts)
    _delete_abandoned(connection, root)
    return working(connection, root, run_id)


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
