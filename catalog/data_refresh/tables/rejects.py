"""Records that the API's tables cannot store: they are rejected and counted; too many fail the copy."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.columns import key_of, names, row_key, temp_name
from catalog.data_refresh.tables.progress import TableProgress

log = logging.getLogger(__name__)
LISTED = 1000  # rejected records that are listed in the log and in the progress table
EXPECTED = frozenset(("url is another set's as well",))  # reasons that are not counted towards the share
# Errors of a database that cannot store a record. Other errors are not the record's fault. A default that
# fails may also raise some of these, which `sequences.check_defaults` checks before.
REFUSED = (
    psycopg.DataError,
    psycopg.errors.CheckViolation,
    psycopg.errors.NotNullViolation,
    psycopg.errors.RaiseException,  # a function that a check, a domain or a generated column calls
    psycopg.errors.ProgramLimitExceeded,  # a value beyond the maximum length
    psycopg.errors.StatementTooComplex,  # JSON that is nested too deeply
)
_SHOWN = 200  # characters of a message


class RejectedRecords:
    """The records that a step of a copy rejects: how many for each reason, and the first of them."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.listed: list[tuple[str, str]] = []

    def add(self, identifier: str, reason: str) -> None:
        """Count a record. The part of the reason after a colon, such as a value, is only listed."""
        self.reasons[reason.partition(": ")[0]] += 1
        if len(self.listed) < LISTED:
            self.listed.append((identifier, reason))

    def check(self, copied: TableProgress, allowed: int) -> None:
        """Raise Fatal if more than `allowed` records of the copy are rejected."""
        rejected = Counter(copied.rejected) + self.reasons
        if sum(rejected.values()) > allowed:
            raise Fatal(_too_many(copied.table, rejected, copied.rows))

    def note(self, api: Connection, copied: TableProgress) -> None:
        """Add the counts to the progress of the copy, and list the records."""
        room = LISTED - sum(copied.rejected.values())
        for reason, number in self.reasons.items():
            copied.rejected[reason] = copied.rejected.get(reason, 0) + number
        if shown := self.listed[: max(0, room)]:
            progress.list_rejects(api, copied.table, shown)
            for identifier, reason in shown:
                log.warning("%s %s is rejected: %s", copied.table, identifier, reason)


def take_back(api: Connection, copied: TableProgress, keys: set[str]) -> None:
    """Remove records from the counts and the list of rejected ones, because they are copied again."""
    kept = []
    for identifier, reason in progress.rejects(api, copied.table):
        if identifier in keys:
            copied.rejected[reason.partition(": ")[0]] -= 1
        else:
            kept.append((identifier, reason))
    copied.rejected = {reason: number for reason, number in copied.rejected.items() if number > 0}
    progress.replace_rejects(api, copied.table, kept)


def reject(api: Connection, table: str, reason: str, keys: Sequence[UUID | int]) -> None:
    """Remove records from a new table whose copy is complete, count and list them."""
    with api.transaction():
        state, rejects = progress.read(api, table), RejectedRecords()
        assert state is not None
        remove(api, state.copied, reason, keys, rejects)
        rejects.note(api, state.copied)
        progress.note(api, state.copied)


def remove(
    api: Connection, copied: TableProgress, reason: str, keys: Sequence[UUID | int], rejects: RejectedRecords
) -> None:
    """Remove copied records, and add them to the rejected ones; see `row_key`."""
    query = sql.SQL("""
        delete from {temp} t where {key} = any(%s)
        returning concat_ws(' ', {named}), not exists (select from {live} l where l.{key} = t.{key})
    """).format(
        temp=sql.Identifier("public", temp_name(copied.table)),
        live=sql.Identifier("public", copied.table),
        key=row_key(copied.table),
        named=names(key_of(copied.table)),
    )
    for identifier, new in api.execute(query, [list(keys)]).fetchall():
        rejects.add(identifier, reason)
        copied.rows -= 1
        copied.new -= new


def reason_of(error: psycopg.Error, column: str = "") -> str:
    """Return why a database rejects a record: a kind and, after a colon, the database's message."""
    diag = error.diag
    said = (diag.message_primary or str(error))[:_SHOWN].replace("temp_import_", "")
    named = column or diag.column_name or _column(diag.context or "")
    if isinstance(error, psycopg.errors.NotNullViolation):
        return f"{named} is empty, which the API's table does not allow"
    if isinstance(error, psycopg.errors.CheckViolation):
        return f"check {diag.constraint_name} of the API is violated"
    return f"{named or 'a value'} does not fit the API's table: {said}"


def check_rejects(copied: TableProgress) -> None:
    """Raise Fatal if more than a small share of a copy's records is rejected."""
    rejected = Counter({r: n for r, n in copied.rejected.items() if r not in EXPECTED})
    if sum(rejected.values()) > loss_limits.allowed_rejects(copied.rows + sum(rejected.values())):
        raise Fatal(_too_many(copied.table, rejected, copied.rows))


def _too_many(table: str, rejected: Counter[str], rows: int) -> str:
    reasons = "; ".join(f"{reason} ({number:,})" for reason, number in rejected.most_common(5))
    return (
        f"the API's table {table} rejects {sum(rejected.values()):,} records ({rows:,} were copied), more "
        f"than {loss_limits.REJECTS:.0%}: {reasons}. Correct the records in the catalog, or the API's "
        "table, then trigger a new run."
    )


def _column(context: str) -> str:
    found = re.search(r", column (\w+)", context)
    return found[1] if found else ""
