"""Reports of loads: the newest of each provider, their history, and freshness against the schedule."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.ingestion.provider import Provider
from catalog.ingestion.reasons import added_up
from catalog.ingestion.shortfalls import flags
from catalog.monitoring.rows import numbers, rows, statement, texts
from catalog.monitoring.sources import Source, columns_of

WEEKS = 26  # of a chart of growth
RECENT = 20  # loads of a sparkline
KEPT = timedelta(days=31)  # for which a pull that is not whole is reported at least, unless a later one is
AHEAD = 1  # days by which a window may end in the future: today's, in any time zone
State = Literal["fresh", "late", "never"]
COLUMNS = sql.SQL(
    "dag_id, run_id, day_shift, finished_on, window_start, window_end, complete, whole, replayed,"
    " shortfalls, accepted, announced, fetched, inserted, updated, unchanged, skipped, rejected,"
    " skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds, load_seconds"
)
# Loads that lack something which the provider has or may have. Those of a recording, and those that their
# conf limits, are not answers of the provider.
FELL_SHORT = sql.SQL("not replayed and (not complete or (not whole and shortfalls <> '[]'))")


class Load(msgspec.Struct, frozen=True):
    """A row of `ingestion_report`.

    Attributes:
        flags: What limits it, in words; empty for a whole one.
        Others: Columns of the table.
    """

    dag_id: str
    run_id: str
    day_shift: int
    finished_on: datetime
    window_start: datetime | None
    window_end: datetime | None
    complete: bool
    whole: bool
    replayed: bool
    shortfalls: list[str]
    accepted: bool
    announced: int | None
    fetched: int
    inserted: int
    updated: int
    unchanged: int
    skipped: int
    rejected: int
    skipped_reasons: dict[str, int]
    rejected_reasons: dict[str, int]
    cleaned_reasons: dict[str, int]
    pull_seconds: float | None
    load_seconds: float | None
    flags: str

    @property
    def outcome(self) -> str:
        """What limits it, as people read it; `whole` if nothing does."""
        return self.flags.lower().replace("replay", "from a recording") or "whole"

    @property
    def reasons(self) -> Counter[str]:
        """Reasons of rejects, then those of skips."""
        return added_up(self.rejected_reasons, self.skipped_reasons)


class Freshness(msgspec.Struct, frozen=True):
    """Age of the newest whole pull of a provider.

    Attributes:
        last: End of the newest window of a dated provider; beginning of the newest pull of the others.
        first: Time of the first load of a provider that has no whole pull; None if there is a whole pull.
        due: Moment from which it is late without another whole pull; None without any load.
        state: `late` if the newest whole pull, or the first load without one, is older than `allowed_age`;
            `never` if a whole pull is not expected yet.
    """

    last: datetime | None
    first: datetime | None
    due: datetime | None
    state: State


def last_loads(connection: Connection, wanted: Sequence[Source]) -> dict[Source, list[Load]]:
    """Return the newest loads of each source, oldest first."""
    query = sql.SQL("""
        select s.n, r.*
          from unnest(%s::text[], %s::text[]) with ordinality s (provider, media_type, n)
         cross join lateral (
             select {columns} from ingestion_report i
              where i.provider = s.provider and i.media_type = s.media_type
              order by finished_on desc limit %s
         ) r
         order by s.n, r.finished_on
    """).format(columns=COLUMNS)
    found: dict[Source, list[Load]] = {source: [] for source in wanted}
    for row in rows(connection, query, [*columns_of(wanted), RECENT]):
        found[wanted[row.pop("n") - 1]].append(_load(row))
    return found


def history(connection: Connection, source: Source, limit: int) -> list[Load]:
    """Return the newest loads of a source, newest first."""
    query = sql.SQL("""
        select {columns} from ingestion_report where provider = %s and media_type = %s
         order by finished_on desc limit %s
    """).format(columns=COLUMNS)
    return [_load(row) for row in rows(connection, query, [source.name, source.media_type, limit])]


def loads_of(
    connection: Connection, name: str, media_type: MediaType, moments: Iterable[datetime]
) -> list[Load]:
    """Return the loads whose transactions began at these moments, oldest first.

    A load sets `created_on` and `updated_on` of its records, and `finished_on` of its report, to that moment.

    Args:
        connection: Connection to the catalog database.
        name: Name of the provider in the catalog.
        media_type: Media type.
        moments: Times of records.
    """
    query = sql.SQL("""
        select {columns} from ingestion_report
         where provider = %s and media_type = %s and finished_on = any(%s) order by finished_on
    """).format(columns=COLUMNS)
    return [_load(row) for row in rows(connection, query, [name, media_type, list(moments)])]


def not_whole(connection: Connection, wanted: Sequence[Source], now: datetime) -> dict[Source, list[Load]]:
    """Return the loads that lack something which no later load brought, newest first, one for each window.

    Replays, and loads that their conf limits, are not answers of the provider: they neither lack anything nor
    bring what is missing. Loads are looked at for a month, or until the provider would be late.

    Args:
        connection: Connection to the catalog database.
        wanted: The sources.
        now: The current time.
    """
    query = statement(
        "not_whole", columns=COLUMNS, fell_short=FELL_SHORT, later=statement("later_whole_pulls")
    )
    found: dict[Source, list[Load]] = {}
    names, types = columns_of(wanted)
    since = [now - max(KEPT, allowed_age(source.declaration)) for source in wanted]
    values = {"names": names, "types": types, "since": since}
    for row in rows(connection, query, values):
        found.setdefault(wanted[row.pop("n") - 1], []).append(_load(row))
    return found


def _load(row: dict[str, Any]) -> Load:
    for column in ("skipped_reasons", "rejected_reasons", "cleaned_reasons"):
        row[column] = numbers(row[column])
    row["shortfalls"] = texts(row["shortfalls"])
    return Load(**row, flags=flags(row))


def freshness(connection: Connection, wanted: Sequence[Source], now: datetime) -> dict[Source, Freshness]:
    """Compare the newest whole pull of each source with its schedule."""
    found = {}
    names, types = columns_of(wanted)
    values = {"names": names, "types": types, "until": now + timedelta(days=AHEAD)}
    for row in rows(connection, statement("freshness"), values):
        source, last, first = wanted[row["n"] - 1], row["fresh_on"], row["first_load"]
        due = since + allowed_age(source.declaration) if (since := last or first) else None
        late = due is not None and now > due
        found[source] = Freshness(last, first, due, "late" if late else "fresh" if last else "never")
    return found


def allowed_age(cls: type[Provider]) -> timedelta:
    """Return the age from which the newest whole pull of a provider is late."""
    pulled = timedelta(days=1) if cls.dated else cls.pull_timeout  # a day is pulled after its end
    return 1.5 * cls.period() + pulled


def growth(connection: Connection, now: datetime, source: Source | None = None) -> list[tuple[datetime, int]]:
    """Return (Monday, records inserted in that week) of the last half year, of one source or of all."""
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    first = monday - timedelta(weeks=WEEKS - 1)
    query = """
        select date_trunc('week', finished_on at time zone 'UTC') as week, sum(inserted) as inserted
          from ingestion_report
         where finished_on between %(first)s and %(until)s
           and (%(name)s::text is null or (provider = %(name)s and media_type = %(media_type)s))
         group by 1
    """
    values = {
        "first": first,
        "until": now + timedelta(days=AHEAD),
        "name": source.name if source else None,
        "media_type": source.media_type if source else None,
    }
    found = {row["week"].replace(tzinfo=UTC): int(row["inserted"]) for row in rows(connection, query, values)}
    return [(week, found.get(week, 0)) for week in (first + timedelta(weeks=n) for n in range(WEEKS))]


def reasons(loads: Iterable[Load], kind: Literal["rejected", "skipped", "cleaned"]) -> Counter[str]:
    """Add up the reasons of rejects, skips or cleaned values."""
    return added_up(*(getattr(load, f"{kind}_reasons") for load in loads))


def share(part: int, whole: int) -> float:
    """Return a part as a number between 0 and 1; 0 of nothing."""
    return part / whole if whole else 0.0
