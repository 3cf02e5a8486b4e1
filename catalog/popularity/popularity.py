"""Popularity of a record within its provider: metric / (metric + constant), between 0 and 1.

The constant is chosen so that the record at the provider's percentile p (0.85) scores p: constant = (1 - p) /
p * value at the percentile. New records are scored when they are loaded; a refresh changes only the rows
whose score differs under the current constant. The SQL function `popularity_score` holds the formula.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.queries import value
from catalog.core.session import Connection, limit_statements
from catalog.core.sql_files import read_sql
from catalog.database.names import query_id
from catalog.database.refusals import Finding, Judge, refuse_all
from catalog.ingestion.completeness import NOTICEABLE
from catalog.ingestion.registry import provider_classes
from catalog.loading.load import lock_provider

PERCENTILE = 0.85
MAX_CONSTANT = 1e100  # the greatest constant that popularity_score accepts
# Share by which a constant may differ from the one it replaces without a new score for every row. A score
# then changes by the same share at most, less than the 0.4 % that a rank feature of the index distinguishes.
PRECISION = 0.002
MAX_LOST = 0.5  # share of the remembered records, which had a metric above 0, that may have lost it
SAMPLE = 1000  # records with a metric that are remembered, up to four times as many
_UNKNOWN = 2**31 * SAMPLE  # records with a metric before they are counted: none is chosen
_FUNCTIONS = Path(__file__).with_name("functions.sql")


class Metric(msgspec.Struct, frozen=True):
    """A provider's row of `<media>_popularity_metrics`.

    Attributes:
        provider: Name of the provider in the catalog.
        metric: Key of meta_data that the constant is of; the declared one, as soon as records have it.
        percentile: Percentile at which the constant is determined, between 0 and 1.
        value: Value of the metric at the percentile; None if no record has one, or if it has not been
            determined since another percentile was declared.
        constant: The current constant; None if there is no value.
        refreshed: The constant that all rows are scored with; None if some may have scores of another one.
        records: Number of records with a metric above 0 when `value` was determined; None if unknown.
    """

    provider: str
    metric: str
    percentile: float
    value: float | None
    constant: float | None
    refreshed: float | None
    records: int | None

    @property
    def is_due(self) -> bool:
        """True if rows may have scores of another constant."""
        return self.constant is not None and self.constant != self.refreshed


class _Counted(NamedTuple):
    number: int  # of a provider's records
    records: int  # those with a metric above 0
    sample: list[UUID]  # some of these


class _Remembered(NamedTuple):
    number: int  # of the records with a metric above 0 that were remembered
    there: list[UUID]  # those that are still in the catalog
    lost: list[UUID]  # those of these that have no metric above 0 any more


def configured(media_type: MediaType) -> dict[str, str]:
    """Return the declared metrics by the provider's name in the catalog."""
    return {
        cls.catalog_names[media_type]: cls.popularity
        for cls in provider_classes()
        if cls.popularity and media_type in cls.catalog_names
    }


def update_metrics(connection: Connection, media_type: MediaType) -> list[str]:
    """Store the declared metrics; values, constants and providers that are no longer declared stay.

    A metric with a constant stays, too: `refresh_constant` replaces both together, once records have another
    metric that is declared. Until then, loads would score that one with a constant of the former.

    Args:
        connection: Connection to the catalog database, in autocommit.
        media_type: Media type of the records.

    Returns:
        Names of the providers with a declared metric.
    """
    found = configured(media_type)
    for provider, metric in sorted(found.items()):
        values = {"provider": provider, "metric": metric, "percentile": PERCENTILE}
        known = _sql(
            "select 1 from {metrics}"
            " where (provider, metric, percentile) = (%(provider)s, %(metric)s, %(percentile)s)",
            media_type,
        )
        if connection.execute(known, values).fetchone():
            continue
        with connection.transaction():
            lock_provider(connection, media_type, provider)
            connection.execute(
                _sql(
                    """
                    insert into {metrics} as m (provider, metric, percentile)
                    values (%(provider)s, %(metric)s, %(percentile)s)
                    on conflict (provider) do update
                    set percentile = excluded.percentile,
                        val = case when m.percentile = excluded.percentile then m.val end
                    """,
                    media_type,
                ),
                values,
            )
            connection.execute(
                _sql(
                    """
                    update {metrics}
                       set metric = %(metric)s::text, val = null, records = null, sample = null,
                           refreshed_constant = null
                     where provider = %(provider)s and metric is distinct from %(metric)s::text
                       and (constant is null or metric is null)
                    """,
                    media_type,
                ),
                values,
            )
    return sorted(found)


def refresh_constant(
    connection: Connection,
    media_type: MediaType,
    provider: str,
    timeout: float,
    *,
    exact: bool = False,
    judge: Judge = refuse_all,
) -> Metric:
    """Determine and store the value at the percentile and the constant; both stay if there is no value.

    If another metric is declared, it is stored with them, in place of the one that they were of.

    The constant also stays if it would change by less than PRECISION, because each row with a metric would
    be written. It is stored while no load of the provider runs, so no load writes scores of the previous one
    afterwards.

    Args:
        connection: Connection to the catalog database, in autocommit.
        media_type: Media type of the records.
        provider: Name of the provider in the catalog.
        timeout: Maximum seconds for each statement, and to wait for a running load.
        exact: Store the constant even if it changes by less than PRECISION.
        judge: Says whether it is accepted that records have lost their metric; they are remembered no more
            then.

    Returns:
        The stored metric.

    Raises:
        Fatal: More than MAX_LOST of the remembered records that are still in the catalog, and not just a few,
            have lost their metric, and that is not accepted.
    """
    before = metric_of(connection, media_type, provider)
    declared = configured(media_type).get(provider, before.metric)
    if is_another := declared != before.metric:
        before = msgspec.structs.replace(before, metric=declared, value=None, refreshed=None, records=None)
    with connection.transaction():
        limit_statements(connection, timeout)
        at_percentile = value(
            connection,
            _sql("select {percentile}(%s, %s, %s)", media_type),
            [provider, before.metric, before.percentile],
        )
    known = None if is_another else _remembered(connection, before, media_type, timeout)
    now = _with_metric(connection, before, media_type, timeout, known.lost if known else [])
    judged = judge({f"popularity of {media_type}, {provider}": [*_lost(before, now, known)]})
    if judged.refused:
        raise Fatal(
            judged.message(
                f"{provider}: {judged.problems}; does its API still send them?",
                "Constant and scores stay. Correct the mapping and pull again.",
            )
        )
    if judged.accepted:
        lost = {*known.lost} if known else set()
        now = now._replace(sample=[one for one in now.sample if one not in lost])
    if at_percentile is None:
        if judged.accepted:
            connection.execute(
                _sql("update {metrics} set (records, sample) = (%s, %s) where provider = %s", media_type),
                [now.records, now.sample, provider],
            )
        return metric_of(connection, media_type, provider)
    constant = min((1 - before.percentile) / before.percentile * (at_percentile or 1), MAX_CONSTANT)
    scored_with = before.refreshed
    if not (exact or before.is_due) and scored_with and abs(constant / scored_with - 1) < PRECISION:
        constant = scored_with
    with connection.transaction():
        limit_statements(connection, timeout)
        lock_provider(connection, media_type, provider)
        # From now on, loads write scores of this constant, beside rows with those of the previous one.
        connection.execute(
            _sql(
                """
                update {metrics}
                   set metric = %(metric)s::text, val = %(value)s, constant = %(constant)s,
                       records = %(records)s, sample = %(sample)s,
                       refreshed_constant = case when (metric, constant) = (%(metric)s::text, %(constant)s)
                                                 then refreshed_constant end
                 where provider = %(provider)s
                """,
                media_type,
            ),
            {
                "metric": declared,
                "value": at_percentile,
                "constant": constant,
                "records": now.records,
                "sample": now.sample,
                "provider": provider,
            },
        )
    return metric_of(connection, media_type, provider)


def _remembered(
    connection: Connection, metric: Metric, media_type: MediaType, timeout: float
) -> _Remembered | None:
    """Look up the remembered records; None if none were: by an earlier release, or in an adopted catalog."""
    query = _sql(
        """
        select cardinality(sample),
               coalesce(array_agg(identifier) filter (where has is not null), '{{}}'),
               coalesce(array_agg(identifier) filter (where not has), '{{}}')
          from {metrics} m
          left join lateral (
              select identifier, coalesce(metric_value(meta_data, m.metric) > 0, false) as has
                from {table} where identifier = any(m.sample)
          ) found on true
         where m.provider = %s and sample is not null
         group by m.provider, m.sample
        """,
        media_type,
    )
    with connection.transaction():
        limit_statements(connection, timeout)
        row = connection.execute(query, [metric.provider]).fetchone()
    return _Remembered(*row) if row else None


def _lost(before: Metric, now: _Counted, known: _Remembered | None) -> Iterator[Finding]:
    """Yield how many records have lost their metric, if they are too many.

    Totals do not tell: records are deleted, and others get a metric. So those that had one are asked. If they
    are deleted, it tells that others had one, too, and that none has one now. A few records are no finding.

    Args:
        before: The stored metric.
        now: How many records have a metric now.
        known: The remembered records.
    """
    if known is None:
        had_some = before.records or (before.refreshed is not None and before.value)
    elif len(known.there) >= NOTICEABLE:
        there, lost = len(known.there), len(known.lost)
        if lost < NOTICEABLE or lost <= MAX_LOST * there:
            return
        text = f"of {there:,} sampled records that had {before.metric} above 0, {lost:,} have lost it"
        yield Finding(before.metric, there, there - lost, text)
        return
    else:
        had_some = (before.records or 0) - known.number >= NOTICEABLE
    if had_some and not now.records and now.number >= NOTICEABLE:
        text = f"no record has {before.metric} above 0 any more"
        yield Finding(before.metric, before.records or 0, 0, text)


def _with_metric(
    connection: Connection, metric: Metric, media_type: MediaType, timeout: float, lost: list[UUID]
) -> _Counted:
    """Count a provider's records, and those with a metric above 0; choose some of these by their hashes.

    The next refresh asks the chosen ones for their metric. They are chosen again each time, so that records
    that were added since are among them. With them are those chosen before that have lost their metric
    (`lost`), so that small losses add up.

    One statement does it, because it reads all records of the provider. How many it chooses follows from the
    number of the last refresh; if that is far from the present one, it is repeated.
    """
    query = _sql(
        """
        select count(*), count(*) filter (where has),
               array_agg(identifier) filter (where (has or identifier = any(%(lost)s::uuid[]))
                                               and hashtext(identifier::text) %% %(one_of)s = 0)
          from (select identifier, metric_value(meta_data, %(metric)s) > 0 as has
                  from {table} where provider = %(provider)s) found
        """,
        media_type,
    )
    expected = _UNKNOWN if metric.records is None else metric.records
    with connection.transaction():
        limit_statements(connection, timeout)
        while True:
            values = {
                "metric": metric.metric,
                "provider": metric.provider,
                "lost": lost,
                "one_of": max(expected // SAMPLE, 1),
            }
            [(number, records, sample)] = connection.execute(query, values).fetchall()
            chosen = len(sample or [])
            if expected == records or min(records, SAMPLE) // 2 <= chosen <= 4 * SAMPLE:
                return _Counted(number, records, sample or [])
            expected = records


def metric_of(connection: Connection, media_type: MediaType, provider: str) -> Metric:
    """Return the stored metric of a provider. Raises LookupError if there is none."""
    row = connection.execute(
        _sql(
            "select provider, metric, percentile, val, constant, refreshed_constant, records"
            " from {metrics} where provider = %s",
            media_type,
        ),
        [provider],
    ).fetchone()
    if row is None:
        raise LookupError(f"{media_type}_popularity_metrics has no row for {provider}")
    return Metric(*row)


def due(
    connection: Connection, media_type: MediaType, providers: Iterable[str], *, force: bool = False
) -> list[Metric]:
    """Return the providers with a changed constant, and those with scores but no constant.

    A constant without a value is that of another percentile, so no row is scored with it again.

    Args:
        connection: Connection to the catalog database, in autocommit.
        media_type: Media type of the records.
        providers: Names in the catalog.
        force: Also return all other providers that have a constant.
    """
    metrics = [metric_of(connection, media_type, provider) for provider in providers]
    return [
        m
        for m in metrics
        if (m.value is not None and (m.is_due or (force and m.constant is not None)))
        or (m.constant is None and _has_scores(connection, media_type, m.provider))
    ]


def _has_scores(connection: Connection, media_type: MediaType, provider: str) -> bool:
    """Return whether a provider has scores; in an adopted catalog, one without a constant may have some."""
    query = sql.SQL(
        "select exists (select from {} where provider = %s and standardized_popularity is not null)"
    ).format(sql.Identifier(media_type))
    return bool(value(connection, query, [provider]))


def note_refreshed(connection: Connection, media_type: MediaType, provider: str, timeout: float) -> int:
    """Check that all rows of a provider are scored with the current constant, and store that.

    Args:
        connection: Connection to the catalog database, in autocommit.
        media_type: Media type of the records.
        provider: Name of the provider in the catalog.
        timeout: Maximum seconds for each statement.

    Returns:
        The number of rows with a score.

    Raises:
        Fatal: A row has another score; the provider stays due.
    """
    with connection.transaction():
        limit_statements(connection, timeout)
        # Lock the row first, so that metric and constant do not change while the rows are checked.
        connection.execute(
            _sql("select from {metrics} where provider = %s for no key update", media_type), [provider]
        )
        [(wrong, scored)] = connection.execute(
            _sql(
                """
                select count(*) filter (where t.standardized_popularity
                           is distinct from popularity_score(t.meta_data, m.metric, m.constant)),
                       count(t.standardized_popularity)
                  from {metrics} m join {table} t using (provider) where m.provider = %s
                """,
                media_type,
            ),
            [provider],
        ).fetchall()
        # If rows are wrong, what an earlier refresh stored is no longer true.
        connection.execute(
            _sql(
                "update {metrics} set refreshed_constant = case when %s then constant end"
                " where provider = %s",
                media_type,
            ),
            [not wrong, provider],
        )
    if wrong:
        raise Fatal(
            f"{provider}: some rows ({wrong:,}) do not have the score of the current constant, "
            f"so it stays due. Trigger a new run of {media_type}_popularity_refresh, which selects them "
            "again."
        )
    return int(scored)


def update_conf(
    media_type: MediaType, provider: str, batch_size: int = 10_000, timeout: float = 300
) -> dict[str, Any]:
    """Return the conf of the batched update that rescores a provider's rows.

    The conf holds neither metric nor constant: each statement reads them, once per statement. So a run that
    is repeated later, or resumes with rows that an earlier run selected, still writes correct scores.

    Args:
        media_type: Media type of the records.
        provider: Name of the provider in the catalog; any string.
        batch_size: Rows per batch.
        timeout: Maximum seconds per batch.
    """
    name = sql.quote(provider)
    row = f"FROM {media_type}_popularity_metrics WHERE provider = {name}"
    score = f"popularity_score(meta_data, (SELECT metric {row}), (SELECT constant {row}))"
    return {
        "query_id": query_id(f"{media_type}_popularity", provider),
        "table_name": media_type,
        "select_query": f"WHERE provider = {name} AND standardized_popularity IS DISTINCT FROM {score}",
        "update_query": f"SET updated_on = now(), standardized_popularity = {score}",
        "batch_size": batch_size,
        "update_timeout": timeout,
        "dry_run": False,
        "resume_update": True,  # rows that an earlier run selected need the same work
        "accept_no_rows": True,  # a load may have scored all of them meanwhile
    }


def recreate_functions(connection: Connection, media_type: MediaType) -> None:
    """Recreate the SQL functions in one transaction; scores change at the next refresh."""
    text = read_sql(_FUNCTIONS).replace("{media}", media_type)
    with connection.transaction():
        limit_statements(connection, 10)
        connection.execute(sql.SQL(text))


def _sql(statement: LiteralString, media_type: MediaType) -> sql.Composed:
    return sql.SQL(statement).format(
        metrics=sql.Identifier(f"{media_type}_popularity_metrics"),
        percentile=sql.Identifier(f"{media_type}_popularity_percentile"),
        table=sql.Identifier(media_type),
    )
