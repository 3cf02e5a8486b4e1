"""What is remembered of moderators' decisions, to notice when many of them are gone.

What moderators have deleted, or marked as mature, would be shown again after their table was emptied,
restored from an older backup, or exchanged with that of another database. Their number tells only the first
of these, and new decisions hide even that, so keys are remembered: of a sample, and of the newest ones.

A decision of a wrong clock (see `decisions.py`) takes no place of the newest ones. It is remembered beside
them, as the clock may be wrong since an hour ago.

A run that makes something live asks twice: at its beginning, for what the last one has remembered; and before
the first of it becomes live, for the sample that it has remembered itself, as moderators may have taken back
the newest ones meanwhile. From then on it finishes, so that tables and indexes are of one state, and reports
what is gone; the next run is refused.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.refusals import Finding, Found, Judge, refuse_all
from catalog.moderation.decisions import PLAUSIBLE
from catalog.moderation.tables import KINDS, Decision, moderated_name

# The kinds of decisions by which a record stays hidden: one that is marked may be deleted later.
_HIDING: Mapping[Decision, tuple[Decision, ...]] = {"deleted": ("deleted",), "mature": ("mature", "deleted")}
SAMPLE = 200  # keys; of 5 % of all, more than 10 % of the sample are lost once in a thousand times
NEWEST = 2 * loss_limits.FEW  # the loss of FEW is noticed; some may have been made again, or taken back


class Remembered(msgspec.Struct, frozen=True):
    """What is remembered of the decisions of one kind.

    Attributes:
        number: Their number.
        sample: Keys of SAMPLE records, those with the lowest hashes.
        newest: Keys of the newest ones, and of the latest with a time to come. If ten are gone, the table is
            an older one.
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
               array(select identifier::text from
                      (select identifier, row_number() over
                              (partition by {dated} order by created_on desc, identifier) place
                         from {table}) dated
                      where place <= {newest} order by place, identifier)
    """
    found = {}
    for kind in KINDS:
        statement = sql.SQL(query).format(
            table=_table(kind, media_type),
            dated=PLAUSIBLE,
            sample=sql.Literal(SAMPLE),
            newest=sql.Literal(NEWEST),
        )
        [row] = api.execute(statement).fetchall()
        found[kind] = Remembered(*row)
    return found


def refuse_lost(
    api: Connection,
    media_type: MediaType,
    before: Decisions,
    judge: Judge = refuse_all,
    scope: str = "decisions",
    *,
    newest: bool = True,
) -> None:
    """Refuse to work without many of the decisions that were made before.

    Args:
        api: Connection to the API database.
        media_type: Media type of the records.
        before: What is remembered of them; empty if nothing is.
        judge: Says whether it is accepted that they are gone.
        scope: Of what these decisions are; see `refusals.judge`.
        newest: See `lost`.

    Raises:
        Fatal: Many are gone, and that is not accepted.
    """
    findings = lost(api, media_type, before, newest=newest)
    if not findings and not newest:
        return  # what was reported of the newest ones is not looked at
    judge_lost({scope: findings}, judge)


def judge_lost(found: Found, judge: Judge) -> None:
    """Raise Fatal if lost decisions of some kinds are not accepted."""
    judged = judge(found)
    if judged.refused:
        raise Fatal(
            judged.message(
                f"{judged.problems}: what moderators have deleted or marked as mature would be shown again.",
                "Restore the table, unless its records were taken back on purpose.",
            )
        )


def lost(api: Connection, media_type: MediaType, before: Decisions, *, newest: bool) -> list[Finding]:
    """Return what tables of decisions lack, one finding for each that lacks many.

    Args:
        api: Connection to the API database.
        media_type: Media type of the records.
        before: What is remembered of them; empty if nothing is.
        newest: Also if ten of the newest ones are gone. Within a run, moderators may have undone them.
    """
    if not newest:
        before = {kind: msgspec.structs.replace(known, newest=[]) for kind, known in before.items()}
    return [found for kind, known in before.items() if (found := _lost(api, kind, media_type, known))]


def _lost(api: Connection, kind: Decision, media_type: MediaType, before: Remembered) -> Finding | None:
    """Describe what a table lacks; return None if it lacks little."""
    table, name = _table(kind, media_type), f"the API's table api_{kind}{media_type}"
    number = value(api, sql.SQL("select count(*) from {}").format(table))
    found = sql.SQL(" union ").join(
        sql.SQL("select identifier from {} where identifier = any(%(keys)s::uuid[])").format(
            _table(hiding, media_type)
        )
        for hiding in _HIDING[kind]
    )
    query = sql.SQL("select count(*) from ({}) found").format(found)
    sampled = value(api, query, {"keys": before.sample})
    if loss_limits.lost_decisions(len(before.sample), sampled):
        missing = len(before.sample) - sampled
        return Finding(
            f"{kind}, {_digest(before.sample)}",
            len(before.sample),
            sampled,
            f"{name} has {number:,} records, it had {before.number:,}, and lacks {missing} of "
            f"{len(before.sample)} sampled ones",
            may_be_away=True,
        )
    newest = value(api, query, {"keys": before.newest})
    missing = len(before.newest) - newest
    if missing >= loss_limits.FEW:
        return Finding(
            f"newest {kind}, {_digest(before.newest)}",
            len(before.newest),
            newest,
            f"{name} lacks {missing} of the {len(before.newest)} newest records that it had, as an older "
            "backup does",
            may_be_away=True,
        )
    return None


def _digest(keys: Sequence[str]) -> str:
    """Identify a sample: what another one lacks was not reported."""
    return sha256(" ".join(keys).encode()).hexdigest()[:16]


def _table(kind: Decision, media_type: MediaType) -> sql.Identifier:
    return sql.Identifier("public", moderated_name(kind, media_type))
