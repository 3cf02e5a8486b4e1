"""The snapshot of the catalog that all sessions which write a version share, also after it was lost."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from psycopg import sql

from catalog.core.errors import Fatal, Refused
from catalog.core.session import Connection
from catalog.database.pages import file_of
from catalog.database.row_versions import THIS_TRANSACTION, horizon, written_since
from catalog.database.snapshots import snapshot
from catalog.publishing import versions
from catalog.publishing.arrow_session import LOCK_TIMEOUT
from catalog.publishing.part_states import forget_parts, parts_of
from catalog.publishing.versions import Version

log = logging.getLogger(__name__)
SNAPSHOTS = 100  # snapshots of a version: each costs the parts whose rows have changed since the one before


@contextmanager
def shared_snapshot(control: Connection, holder: Connection, number: int) -> Iterator[tuple[int, str]]:
    """Hold the snapshot of a version, together with other sessions; take a new one if nobody holds it.

    Parts of the one before pass to a new one if their rows are the same in both; others are written again.

    Args:
        control: Connection to the catalog, in autocommit.
        holder: Another one, which keeps the snapshot.
        number: Number of the version.

    Yields:
        The number of the snapshot, and the name under which this session has exported it.

    Raises:
        Fatal: The snapshot was lost too often.
        Refused: The version is not written any more.
    """
    with ExitStack() as stack:
        with control.transaction():
            version = versions.read(control, number, lock=True)
            if version.stage != "writing":
                raise Refused(f"version {number} is {version.stage}; {versions.AGAIN}")
            oldest = horizon(control)
            found = stack.enter_context(snapshot(holder, version.exported))
            # Behind a statement that waits for the reading sessions, this one would wait for them, and they
            # for it.
            holder.execute(sql.SQL("set local lock_timeout to {}").format(sql.Literal(LOCK_TIMEOUT)))
            snapshot_number = version.snapshot_number
            if found.imported and found.contents == version.snapshot:
                control.execute(
                    "update dataset_version set exported = exported || %s where number = %s",
                    [[found.exported], number],
                )
            else:
                snapshot_number += 1
                if snapshot_number > SNAPSHOTS:
                    raise Fatal(
                        f"all sessions that held the snapshot of version {number} have ended {SNAPSHOTS} "
                        f"times. See what ends the tasks write_parts; then {versions.AGAIN}"
                    )
                control.execute(
                    "update dataset_version set state = %s, snapshot = %s, exported = %s, horizon = %s,"
                    " taken_on = clock_timestamp(), changes = null where number = %s",
                    [snapshot_number, found.contents, [found.exported], oldest, number],
                )
                if version.horizon is not None:
                    _pass_on(control, holder, version, snapshot_number, version.horizon)
        yield snapshot_number, found.exported


def _pass_on(control: Connection, holder: Connection, version: Version, new: int, since: int) -> None:
    """Let parts whose rows are the same pass to a new snapshot; forget the files of the others.

    Args:
        control: In the transaction that records the new snapshot.
        holder: In the new snapshot.
        version: With the number of the snapshot before.
        new: Number of the new snapshot.
        since: The horizon of the snapshot before.
    """
    parts = parts_of(control, version.number)
    # A row that a dump has restored is not of the transaction that it names, and rows of the tables are of
    # other transactions as well, so nothing is known about them.
    written = control.execute(
        "select number, rows_read, file_node from dataset_part"
        " where version = %s and state = %s and transaction = xmin::text::bigint",
        [version.number, version.snapshot_number],
    ).fetchall()
    same = []
    for number, rows_read, file_node in written:
        part = parts[number]
        if part.kind == "pages" and file_node != file_of(holder, part.media_type):
            continue
        query = sql.SQL("select count(*), coalesce(bool_or({}), false) from {} where {}").format(
            written_since(holder, since), sql.Identifier("public", part.media_type), part.condition(parts)
        )
        if holder.execute(query).fetchone() == (rows_read, False):
            same.append(number)
    statement = "update dataset_part set state = %s, transaction = {} where version = %s and number = any(%s)"
    control.execute(sql.SQL(statement).format(THIS_TRANSACTION), [new, version.number, same])
    forget_parts(control, version.number, sql.SQL("state is distinct from %(state)s"), state=new)
    log.info(
        "the snapshot of version %s was lost. Of %s parts that were written, %s have the same rows now",
        version.number,
        len(written),
        len(same),
    )
