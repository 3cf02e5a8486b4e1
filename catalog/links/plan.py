"""Which links a run checks: a sample of each provider, and links that were gone before.

All draws use the index on provider and md5 of the foreign identifier, so they read as many rows as they
return, however large the table is. The order of these hashes has nothing to do with what the records are, so
the rows that follow a random hash are a random sample. (Rows without a foreign identifier, which only an
adopted catalog may have, are never drawn.)
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.database.earlier_runs import earlier_name
from catalog.ingestion.addresses import host_of

log = logging.getLogger(__name__)
SLICE_HASHES = 2**32
MAX_SLICES = 500  # of each media type: Airflow maps no more than 1,024 tasks
MAX_SLICE = 1_000_000  # records; a task holds the links of a slice in memory
SUSPECT_FOR = timedelta(days=120)  # after it was last found to be gone
AGAIN, MOST_AGAIN = 2_000, 100_000  # records that were gone before, and are checked besides a sample
READ = 5_000  # rows that are read at once
_BATCH = 5_000  # rows that are written at once
_SQL = Path(__file__).parent / "sql"
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

    def statement(self, name: str, **parts: sql.Composable) -> sql.Composed:
        """Return the statement in the file `sql/<name>.sql`; its values are those of `key`, and others."""
        return sql.SQL(read_sql(_SQL / f"{name}.sql")).format(**self.names, **parts)

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


def slices(number: int, first: int, last: int | None, provider: str | None) -> list[tuple[int, int]]:
    """Return the slices that a form asks for, each with their number; (0, 0) for a sample.

    Args:
        number: Slices into which the records of a provider are divided; 0 for a sample.
        first: The slice to begin with.
        last: The slice to end with; None for the last one.
        provider: Name of the provider in the catalog, if one is given.

    Raises:
        Refused: The fields do not belong together, or the slices are too many for a run.
    """
    if not number:
        if first != 1 or last is not None:
            raise Refused("slices: first_slice and last_slice need slices; set it, too.")
        return [(0, 0)]
    if not provider:
        raise Refused("slices: they need a provider; set it, too.")
    last = number if last is None else last
    if first > last:
        raise Refused(f"slices: first_slice ({first:,}) is after last_slice ({last:,}); correct one of them.")
    if last > number:
        raise Refused(
            f"slices: {first:,} to {last:,} are not among 1 to {number:,}; correct first_slice or last_slice."
        )
    if last - first >= MAX_SLICES:
        raise Refused(
            f"slices: a run checks at most {MAX_SLICES:,}; set last_slice to {first + MAX_SLICES - 1:,}."
        )
    return [(one, number) for one in range(first, last + 1)]


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


def plan(
    connection: Connection,
    survey: Survey,
    *,
    now: datetime,
    size: int,
    again: int,
    conf: Mapping[str, Any] | None = None,
) -> bool:
    """Store which links a survey checks, unless an earlier attempt has.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey.
        now: The time.
        size: Records of a sample; a slice has all of its records.
        again: Records that were gone before, and as many removed ones, to check besides a sample.
        conf: The conf of the run, to build that of a run which accepts what this one finds.

    Returns:
        False if it was planned before.

    Raises:
        Refused: A slice has too many records.
    """
    with connection.transaction():
        made = connection.execute(
            """
            insert into link_survey (run_id, media_type, provider, slice, slices, planned_on, conf)
            values (%(run_id)s, %(media)s, %(provider)s, %(slice)s, %(slices)s, %(now)s, %(conf)s)
            on conflict do nothing
            """,
            {**survey.key, "slices": survey.slices, "now": now, "conf": Jsonb(dict(conf or {}))},
        ).rowcount
        if not made:
            return False
        if survey.slices:
            numbers = Counter(
                sample=add_checks(connection, survey, "sample", _slice(connection, survey, removed=False)),
                again=add_checks(connection, survey, "again", _slice(connection, survey, removed=True)),
            )
        else:
            # A record that is drawn and was gone before belongs to the sample.
            sample = _sample(connection, survey, size)
            numbers = Counter(sample=add_checks(connection, survey, "sample", sample))
            for rows in (_suspects(connection, survey, now, again), _removed(connection, survey, again)):
                numbers["again"] += add_checks(connection, survey, "again", rows)
    log.info("%s: %s links to check, %s once more", survey, f"{numbers['sample']:,}", numbers["again"])
    return True


def add_checks(connection: Connection, survey: Survey, purpose: str, rows: Iterable[Row]) -> int:
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


def after_random_hash(connection: Connection, survey: Survey, seed: str, number: int) -> list[Row]:
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
    seed = f"{survey.run_id} {survey.media_type} {survey.provider}"
    return after_random_hash(connection, survey, seed, size)


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
    values = {**survey.key, "since": now - SUSPECT_FOR, "now": now, "most": most}
    return connection.execute(survey.statement("suspects"), values).fetchall()


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
