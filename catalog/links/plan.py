"""Which links a run checks: a sample of each provider, links that were gone before, and controls.

All draws use the index on provider and md5 of the foreign identifier, so they read as many rows as they
return, however large the table is. The order of these hashes has nothing to do with what the records are, so
the rows that follow a random hash are a random sample. (Rows without a foreign identifier, which only an
adopted catalog may have, are never drawn.)
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import sql

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.database.earlier_runs import earlier_name
from catalog.ingestion.addresses import host_of
from catalog.links.answers import BUSY, PAUSED

log = logging.getLogger(__name__)
SLICE_HASHES = 2**32
CONTROLS = 6  # records of a host that are enough to judge it
SEARCHED = 20_000  # records of a provider among which controls are looked for
KNOWN = 40  # earlier answers of a host among which controls are chosen
MAX_SLICE = 1_000_000  # records; a task holds the links of a slice in memory
SUSPECT_FOR = timedelta(days=120)  # after it was last found to be gone
READ = 5_000  # rows that are read at once
_BATCH = 5_000  # rows that are written at once
# Condition of the rows of a survey; its values are those of `Survey.key`.
OF_SURVEY = sql.SQL(
    "run_id = %(run_id)s and media_type = %(media)s and provider = %(provider)s and slice = %(slice)s"
)


class Survey(msgspec.Struct, frozen=True):
    """The part of a run that concerns one provider and media type.

    Attributes:
        run_id: The DAG run.
        media_type: Media type.
        provider: Name of the provider in the catalog.
        slice: Number of the slice, from 1; 0 for a sample.
        slices: Slices into which all records are divided; 0 for a sample.
    """

    run_id: str
    media_type: MediaType
    provider: str
    slice: int = 0
    slices: int = 0

    @property
    def key(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "media": self.media_type,
            "provider": self.provider,
            "slice": self.slice,
        }

    @property
    def names(self) -> dict[str, sql.Composable]:
        return {"table": sql.Identifier("public", self.media_type), "of_survey": OF_SURVEY}

    def __str__(self) -> str:
        part = f", slice {self.slice:,} of {self.slices:,}" if self.slices else ""
        return f"{self.provider}, {self.media_type}{part}"


Row = tuple[Any, str, int | None]  # identifier, URL, known size


def providers(connection: Connection) -> list[tuple[MediaType, str]]:
    """Return the providers of each media table, one look into its index for each."""
    found: list[tuple[MediaType, str]] = []
    for media in MEDIA_TYPES:
        query = sql.SQL("""
            with recursive known (provider) as (
                (select provider from {table} where provider is not null order by provider limit 1)
                 union all
                select (select m.provider from {table} m where m.provider > known.provider
                         order by m.provider limit 1)
                  from known where known.provider is not null
            )
            select provider from known where provider is not null
        """).format(table=sql.Identifier("public", media))
        found += [(media, name) for (name,) in connection.execute(query)]
    return found


def rename_earlier_run(connection: Connection, run_id: str) -> None:
    """Keep the surveys of an earlier run with this id under another name.

    Args:
        connection: Connection to the catalog database, in autocommit.
        run_id: Id of a run that has planned nothing yet.
    """
    known = connection.execute("select from link_survey where run_id = %s limit 1", [run_id]).fetchone()
    if known is None:
        return
    name = earlier_name(run_id)
    with connection.transaction():
        for table, column in (
            ("link_survey", "run_id"),
            ("link_check", "run_id"),
            ("link_removal", "run_id"),
            ("link_removal", "ended_by"),
        ):
            connection.execute(
                sql.SQL("update {table} set {column} = %s where {column} = %s").format(
                    table=sql.Identifier("public", table), column=sql.Identifier(column)
                ),
                [name, run_id],
            )


def plan(connection: Connection, survey: Survey, *, now: datetime, size: int, again: int) -> bool:
    """Store which links a survey checks, unless an earlier attempt has.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey.
        now: The time.
        size: Records of a sample; a slice has all of its records.
        again: Records that were gone before, and as many removed ones, to check besides a sample.

    Returns:
        False if it was planned before.

    Raises:
        Refused: A slice has too many records.
    """
    with connection.transaction():
        made = connection.execute(
            """
            insert into link_survey (run_id, media_type, provider, slice, slices, planned_on)
            values (%(run_id)s, %(media)s, %(provider)s, %(slice)s, %(slices)s, %(now)s)
            on conflict do nothing
            """,
            {**survey.key, "slices": survey.slices, "now": now},
        ).rowcount
        if not made:
            return False
        if survey.slices:
            numbers = Counter(
                sample=_add(connection, survey, "sample", _slice(connection, survey, removed=False)),
                again=_add(connection, survey, "again", _slice(connection, survey, removed=True)),
            )
        else:
            # A record that is drawn and was gone before belongs to the sample.
            numbers = Counter(sample=_add(connection, survey, "sample", _sample(connection, survey, size)))
            for rows in (_suspects(connection, survey, now, again), _removed(connection, survey, again)):
                numbers["again"] += _add(connection, survey, "again", rows)
    log.info("%s: %s links to check, %s once more", survey, f"{numbers['sample']:,}", numbers["again"])
    return True


def _add(connection: Connection, survey: Survey, purpose: str, rows: Iterable[Row]) -> int:
    """Store planned checks, each record once in a run, and return their number."""
    added, batch = 0, list[Row]()

    def write() -> int:
        return connection.execute(
            """
            insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host,
                                    known_size)
            select %(run_id)s, %(media)s, %(provider)s, %(slice)s, %(purpose)s, planned.*
              from unnest(%(ids)s::uuid[], %(urls)s::text[], %(hosts)s::text[], %(sizes)s::bigint[]) planned
            on conflict (run_id, media_type, identifier) do nothing
            """,
            {
                **survey.key,
                "purpose": purpose,
                "ids": [row[0] for row in batch],
                "urls": [row[1] for row in batch],
                "hosts": [host_of(row[1]) for row in batch],
                "sizes": [row[2] for row in batch],
            },
        ).rowcount

    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            added += write()
            batch.clear()
    return added + (write() if batch else 0)


def _from_hash(connection: Connection, survey: Survey, seed: str, number: int) -> list[Row]:
    """Return records that follow a random hash and are not removed; after the last one comes the first."""
    query = sql.SQL("""
        (select identifier, url, filesize from {table}
          where provider = %(provider)s and md5(foreign_identifier) >= md5(%(seed)s)
            and not removed_from_source
          order by md5(foreign_identifier) limit %(number)s)
         union all
        (select identifier, url, filesize from {table}
          where provider = %(provider)s and md5(foreign_identifier) < md5(%(seed)s)
            and not removed_from_source
          order by md5(foreign_identifier) limit %(number)s)
         limit %(number)s
    """).format(**survey.names)
    return connection.execute(query, {**survey.key, "seed": seed, "number": number}).fetchall()


def _sample(connection: Connection, survey: Survey, size: int) -> list[Row]:
    return _from_hash(connection, survey, f"{survey.run_id} {survey.media_type} {survey.provider}", size)


def _slice(connection: Connection, survey: Survey, *, removed: bool) -> Iterable[Row]:
    """Yield all records of a slice, removed or not: those whose hash is between two numbers.

    Raises:
        Refused: The slice has more records than a run can hold.
    """
    first, end = (_hash(survey, number) for number in (survey.slice - 1, survey.slice))
    query = sql.SQL("""
        select identifier, url, filesize from {table}
         where provider = %(provider)s and md5(foreign_identifier) >= %(first)s
           and md5(foreign_identifier) < %(end)s and removed_from_source = %(removed)s
    """).format(**survey.names)
    with connection.cursor("links_of_slice") as cursor:
        cursor.itersize = READ
        cursor.execute(query, {**survey.key, "first": first, "end": end, "removed": removed})
        for number, row in enumerate(cursor):
            if number == MAX_SLICE:
                raise Refused(
                    f"slices: slice {survey.slice:,} of {survey.provider} has more than {MAX_SLICE:,} "
                    "records; check it in more slices."
                )
            yield row


def _hash(survey: Survey, number: int) -> str:
    """Return the hash at which a slice ends; the last one ends after all hashes, which have no letter g."""
    return "g" if number == survey.slices else f"{SLICE_HASHES * number // survey.slices:08x}"


def _suspects(connection: Connection, survey: Survey, now: datetime, most: int) -> list[Row]:
    """Return records that were gone and have not answered since, those that wait longest first."""
    query = sql.SQL("""
        select identifier, url, filesize
          from (
            select distinct on (c.identifier) c.identifier, m.url, m.filesize,
                   (select max(checked_on) from link_check any_outcome
                     where any_outcome.media_type = c.media_type and any_outcome.identifier = c.identifier
                   ) as checked_on
              from link_check c join {table} m on m.identifier = c.identifier and m.url = c.url
             where c.provider = %(provider)s and c.media_type = %(media)s and c.outcome = 'gone' and c.judged
               and c.checked_on > %(since)s and not m.removed_from_source
               and not exists (
                   select from link_check later
                    where later.media_type = c.media_type and later.identifier = c.identifier
                      and later.url = c.url and later.outcome = 'there' and later.checked_on > c.checked_on)
             order by c.identifier, c.checked_on desc
          ) gone
         order by checked_on limit %(most)s
    """).format(**survey.names)
    values = {**survey.key, "since": now - SUSPECT_FOR, "most": most}
    return connection.execute(query, values).fetchall()


def _removed(connection: Connection, survey: Survey, most: int) -> list[Row]:
    """Return records that were removed, those that were not checked for longest first.

    The removals are read in this order, and only as many as necessary.
    """
    query = sql.SQL("""
        select m.identifier, m.url, m.filesize
          from (
            select identifier, url from link_removal
             where provider = %(provider)s and media_type = %(media)s and ended_on is null
             order by checked_on nulls first
          ) r
         cross join lateral (
            select * from {table} m
             where m.identifier = r.identifier and m.url = r.url and m.provider = %(provider)s
             limit 1
         ) m
         limit %(most)s
    """).format(**survey.names)
    return connection.execute(query, {**survey.key, "most": most}).fetchall()


def add_controls(connection: Connection, survey: Survey) -> int:
    """Plan controls: other records of the same provider and host as those that are gone.

    Records that have answered before come first; where there are too few, any are taken. Hosts of which the
    survey has checked enough random records need none.

    Returns:
        The number of controls that were added; 0 when they were added before.
    """
    with connection.transaction():
        return _add_controls(connection, survey)


def _add_controls(connection: Connection, survey: Survey) -> int:
    query = sql.SQL("""
        select host, %(enough)s - count(*) filter (where purpose <> 'again' and outcome <> 'gone')
          from link_check where {of_survey}
         group by host
        having bool_or(outcome = 'gone' and not judged)
           and count(*) filter (where purpose = 'control') = 0
           and not coalesce(bool_or(reason = any(%(busy)s)), false) -- such a host does not want more requests
           and count(*) filter (where purpose <> 'again') <= %(enough)s
    """).format(**survey.names)
    lacking: dict[str, int] = dict(
        connection.execute(query, {**survey.key, "enough": CONTROLS, "busy": [BUSY, PAUSED]}).fetchall()
    )
    added = 0
    for host, number in lacking.items():
        rows = _answered(connection, survey, host)[: max(number, 1)]
        added += (found := _add(connection, survey, "control", rows))
        lacking[host] = number - found
    wanted = {host: number for host, number in lacking.items() if number > 0}
    if wanted:
        rows_of = defaultdict[str, list[Row]](list)
        for row in _from_hash(connection, survey, f"controls {survey.run_id} {survey}", SEARCHED):
            if (host := host_of(row[1])) in wanted:
                rows_of[host].append(row)
        for host, rows in rows_of.items():
            added += _add_some(connection, survey, rows, wanted[host])
    return added


def _add_some(connection: Connection, survey: Survey, rows: list[Row], most: int) -> int:
    """Plan controls from a list until there are enough; some may be planned in this run already."""
    added = 0
    for row in rows:
        if added == most:
            break
        added += _add(connection, survey, "control", [row])
    return added


def _answered(connection: Connection, survey: Survey, host: str) -> list[Row]:
    """Return records of the provider and host that have answered before, and that this run does not check."""
    query = sql.SQL("""
        select distinct m.identifier, m.url, m.filesize
          from (
            select identifier, url from link_check
             where provider = %(provider)s and media_type = %(media)s and host = %(host)s
               and outcome = 'there' and run_id <> %(run_id)s
             order by checked_on desc limit %(known)s
          ) known
          join {table} m on m.identifier = known.identifier and m.url = known.url
         where m.provider = %(provider)s and not m.removed_from_source
           and not exists (select from link_check c where c.run_id = %(run_id)s
                              and c.media_type = %(media)s and c.identifier = m.identifier)
    """).format(**survey.names)
    return connection.execute(query, {**survey.key, "host": host, "known": KNOWN}).fetchall()
