"""The parts of a version, as the catalog database records them: which are written, and of which state.

A state is a snapshot of the catalog that the sessions which write a version share. A version is complete
when all its parts are written and have its state.
"""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.errors import Retry
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.row_versions import THIS_TRANSACTION
from catalog.publishing.files import File, Written
from catalog.publishing.parts import Part
from catalog.publishing.versions import Version

log = logging.getLogger(__name__)


def forget(connection: Connection, version: Version, files: Sequence[str]) -> None:
    """Let parts with one of these files, and the change set with one, count as not written."""
    with_one = "exists (select from jsonb_array_elements(files) file where file ->> 'path' = any(%(files)s))"
    forget_parts(connection, version.number, sql.SQL(with_one), files=list(files))
    connection.execute("update dataset_version set changes = null where number = %s", [version.number])


def forget_parts(connection: Connection, number: int, condition: sql.Composable, **values: Any) -> None:
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
    forget_parts(connection, number, condition)


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
