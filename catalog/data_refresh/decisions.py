"""What is remembered of moderators' decisions, to notice when many of them are gone.

What moderators have deleted, or marked as mature, would be shown again after their table was emptied,
restored from an older backup, or exchanged with that of another database. Their number tells only the first
of these, so the keys of a sample and of the newest decisions are remembered, too.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.session import Connection

Decision = Literal["deleted", "mature"]
KINDS: tuple[Decision, ...] = ("deleted", "mature")
SAMPLE = 100  # keys; of 5 % of all, more than 10 % of the sample are lost once in a hundred times


class Remembered(msgspec.Struct, frozen=True):
    """What is remembered of the decisions of one kind.

    Attributes:
        number: Their number.
        sample: Keys of SAMPLE records, those with the lowest hashes.
        newest: Keys of the newest ones. If none of them is left, the table is an older one.
    """

    number: int
    sample: list[str] = []
    newest: list[str] = []


Decisions = Mapping[Decision, Remembered]


def remember(api: Connection, media_type: MediaType) -> dict[Decision, Remembered]:
    """Return what is to be remembered of all decisions about records of a media type.

    Args:
        api: Connection to the API database.
        media_type: Media type of the records.
    """
    query = """
        select (select count(*) from {table}),
               array(select identifier::text from {table} order by md5(identifier::text) limit {sample}),
               array(select identifier::text from {table} order by created_on desc, identifier limit {newest})
    """
    found = {}
    for kind in KINDS:
        statement = sql.SQL(query).format(
            table=_table(kind, media_type), sample=sql.Literal(SAMPLE), newest=sql.Literal(loss_limits.FEW)
        )
        [row] = api.execute(statement).fetchall()
        found[kind] = Remembered(*row)
    return found


def refuse_lost(
    api: Connection, media_type: MediaType, before: Decisions, dag_id: str, *, newest: bool = True
) -> None:
    """Refuse to work without many of the decisions that were made before.

    Args:
        api: Connection to the API database.
        media_type: Media type of the records.
        before: What is remembered of them; empty if nothing is.
        dag_id: The DAG of which a run accepts that they are gone.
        newest: Refuse if all of the newest ones are gone. Within a run, moderators may have undone them.

    Raises:
        Fatal: Many are gone.
    """
    if not newest:
        before = {kind: msgspec.structs.replace(known, newest=[]) for kind, known in before.items()}
    findings = [text for kind, known in before.items() for text in _lost(api, kind, media_type, known)]
    if findings:
        raise Fatal(
            f"{'; '.join(findings)}: what moderators have deleted or marked as mature would be shown again. "
            f"Restore the table; if its records were taken back on purpose, trigger {dag_id} with the conf "
            '{"accept_shrinkage": true}.'
        )


def _lost(api: Connection, kind: Decision, media_type: MediaType, before: Remembered) -> list[str]:
    """Describe what a table lacks; return no more than one sentence."""
    table = _table(kind, media_type)
    query = """
        select (select count(*) from {table}),
               (select count(*) from {table} where identifier = any(%(sample)s::uuid[])),
               (select count(*) from {table} where identifier = any(%(newest)s::uuid[]))
    """
    keys = {"sample": before.sample, "newest": before.newest}
    [(number, sampled, newest)] = api.execute(sql.SQL(query).format(table=table), keys).fetchall()
    name = f"the API's table api_{kind}{media_type}"
    if loss_limits.lost_decisions(before.number, number):
        return [f"{name} has {number:,} records, it had {before.number:,}"]
    if loss_limits.lost_decisions(len(before.sample), sampled):
        missing = len(before.sample) - sampled
        return [f"{name} lacks {missing} of {len(before.sample)} sampled records that it had"]
    if len(before.newest) >= loss_limits.FEW and not newest:
        return [f"{name} lacks the {len(before.newest)} newest records that it had, as an older backup does"]
    return []


def _table(kind: Decision, media_type: MediaType) -> sql.Identifier:
    return sql.Identifier("public", f"api_{kind}{media_type}")
