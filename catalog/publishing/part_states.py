"""The parts of a version, as the catalog database records them: which are written, and of which state.

A state is a snapshot of the catalog that the sessions which write a version share. A version is complete
when all its parts are written and have its state.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.errors import Fatal, Refused, Retry
from catalog.core.media import MediaType
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.pages import file_of
from catalog.database.row_versions import THIS_TRANSACTION, horizon, written_since
from catalog.database.snapshots import snapshot
from catalog.publishing import versions
from catalog.publishing.arrow_session import LOCK_TIMEOUT
from catalog.publishing.files import File, Written
from catalog.publishing.parts import Part
from catalog.publishing.versions import Version

log = logging.getLogger(__name__)
SNAPSHOTS = 100  # snapshots of a version: each costs the parts whose rows have changed since the one before


def forget(connection: Connection, version: Version, files: Sequence[str]) -> None:
    """Let parts with one of these files, and the change set with one, count as not written."""
    with_one = "exists (select from jsonb_array_elements(files) file where file ->> 'path' = any(%(files)s))"
    _forget_parts(connection, version.number, sql.SQL(with_one), files=list(files))
    connection.execute("update dataset_version set changes = null where number = %s", [version.number])


def _forget_parts(connection: Connection, number: int, condition: sql.Composable, **values: Any) -> None:
    """Let the parts of a version that meet a condition count as not written."""
    connection.execute(
        sql.SQL(
            "update dataset_part set state = null, rows_read = null, with_term = null, files = '[]'"
            " where version = %(version)s and {}"
        ).format(condition),
        {"version": number, **values},
    )


_MOVED = """
    select media_type from dataset_part join dataset_version v on v.number = version
     where version = %(version)s and kind = 'pages' and dataset_part.state = v.state
     group by media_type having count(distinct file_node) > 1
"""  # media types whose ranges were read from different files of the table, in which rows have other pages


def forget_moved(connection: Connection, number: int) -> None:
    """Let ranges of pages count as not written if the table's rows were moved between them."""
    condition = sql.SQL("kind = 'pages' and media_type in ({})").format(sql.SQL(_MOVED))
    _forget_parts(connection, number, condition)


def parts_of(connection: Connection, number: int) -> list[Part]:
    """Return all parts of a version."""
    rows = connection.execute(
        "select number, media_type, kind, provider, lower_page, upper_page from dataset_part"
        " where version = %s order by number",
        [number],
    ).fetchall()
    return [Part(*row) for row in rows]


def files_of(connection: Connection, version: Version) -> list[File]:
    """Return the files of a complete version, whose parts all have one state.

    Raises:
        Retry: Parts are missing, some are of another state, or a table was rewritten between its parts.
    """
    rows = connection.execute(
        "select number, state, files from dataset_part where version = %s order by number", [version.number]
    ).fetchall()
    others = [number for number, state, _ in rows if state is None or state != version.snapshot_number]
    if others or not rows:
        raise Retry(
            f"{len(others)} of {len(rows)} parts of version {version.number} are missing or of another state "
            "of the catalog; clear write_parts with its downstream tasks."
        )
    moved = connection.execute(_MOVED, {"version": version.number}).fetchall()
    if moved:
        raise Retry(
            f"the table {moved[0][0]} was rewritten (VACUUM FULL, CLUSTER) between parts of version "
            f"{version.number}; clear write_parts with its downstream tasks."
        )
    return [msgspec.convert(file, File) for *_, files in rows for file in files]


def rows_read(connection: Connection, token: str) -> dict[MediaType, int]:
    """Return how many rows the parts of a version have read, with those that are left out, by media type.

    Args:
        connection: Connection to the catalog.
        token: Token of the version.

    Returns:
        The numbers; without any if this database does not know the version.
    """
    return _sums(connection, token, sql.Identifier("rows_read"))


def with_term(connection: Connection, token: str) -> dict[MediaType, int]:
    """Return how many rows of a version contain a sensitive term; arguments as of `rows_read`.

    Returns:
        The numbers; without media types of which an earlier release has written a part.
    """
    return _sums(connection, token, sql.Identifier("with_term"))


class Terms(msgspec.Struct, frozen=True):
    """What a list of sensitive terms has found in a version.

    Attributes:
        version: Number of the version.
        found: Media type → number of records that contain a term.
        digest: Digest of the list; None if it is not known.
    """

    version: int
    found: Mapping[str, int]
    digest: str | None


def counted_terms(connection: Connection, version: Version) -> Terms | None:
    """Return what terms have found in the newest version before another one that has looked for them.

    Args:
        connection: Connection to the catalog.
        version: The other version.

    Returns:
        The numbers; None if this database knows no such version of the folder.
    """
    row = connection.execute(
        sql.SQL("""
            select number, token::text, settings ->> %s from dataset_version v
             where published_on is not null and number < %s and rtrim(root, '/') = %s
               and exists (select from dataset_part where version = v.number)
               and not exists (select from dataset_part where version = v.number and with_term is null)
             order by number desc limit 1
        """),
        [versions.TERMS, version.number, version.root.rstrip("/")],
    ).fetchone()
    if row is None:
        return None
    number, token, digest = row
    return Terms(number, {str(m): found for m, found in with_term(connection, token).items()}, digest)


def _sums(connection: Connection, token: str, column: sql.Identifier) -> dict[MediaType, int]:
    """Return the sum of a column over all parts of a version, by media type, unless one part has none."""
    query = sql.SQL("""
        select p.media_type, sum(p.{column})::bigint
          from dataset_part p join dataset_version v on v.number = p.version
         where v.token::text = %s group by 1 having bool_and(p.{column} is not null)
    """).format(column=column)
    return dict(connection.execute(query, [token]).fetchall())


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
    _forget_parts(control, version.number, sql.SQL("state is distinct from %(state)s"), state=new)
    log.info(
        "the snapshot of version %s was lost. Of %s parts that were written, %s have the same rows now",
        version.number,
        len(written),
        len(same),
    )


def is_complete(control: Connection, number: int) -> bool:
    """Return whether all parts of a version are written, and are of its state."""
    query = (
        "select exists (select from dataset_version v where number = %s and not exists ("
        "  select from dataset_part p where p.version = v.number and p.state is distinct from v.state))"
    )
    return bool(value(control, query, [number]))


def claim(control: Connection, number: int, snapshot_number: int) -> int | None:
    """Claim a part that no other session is writing, until the transaction ends.

    Args:
        control: Connection to the catalog, in a transaction.
        number: Number of the version.
        snapshot_number: Number of the snapshot in which the part will be read.

    Returns:
        The number of the part, or None if there is none.
    """
    row = control.execute(
        "select number from dataset_part where version = %s and state is distinct from %s"
        " order by number limit 1 for update skip locked",
        [number, snapshot_number],
    ).fetchone()
    return row[0] if row else None


def record(control: Connection, number: int, snapshot_number: int, part: Part, written: Written) -> None:
    """Record a part that has been written.

    Args:
        control: Connection to the catalog, in the transaction that has claimed the part.
        number: Number of the version.
        snapshot_number: Number of the snapshot in which the part was read.
        part: The part.
        written: What was written.

    Raises:
        Retry: The version has another state by now, or is not written any more; the part does not count.
    """
    statement = """
        with version as (
            select number from dataset_version
             where number = %(version)s and state = %(state)s and stage = 'writing' for share
        )
        update dataset_part p
           set state = %(state)s, rows_read = %(rows)s, with_term = %(with_term)s, files = %(files)s,
               file_node = pg_relation_filenode(to_regclass(%(table)s)),
               transaction = {}
          from version where p.version = version.number and p.number = %(part)s
    """
    recorded = control.execute(
        sql.SQL(statement).format(THIS_TRANSACTION),
        {
            "version": number,
            "state": snapshot_number,
            "part": part.number,
            "rows": written.rows_read,
            "with_term": written.with_term,
            "files": Jsonb(msgspec.to_builtins(written.files)),
            "table": f"public.{part.media_type}",
        },
    ).rowcount
    if not recorded:
        raise Retry(f"version {number} has another state than that of part {part.number}.")
