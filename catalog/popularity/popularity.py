"""How popular a record is among those of its provider: metric / (metric + constant), between 0 and 1.

The constant is made so that the record at the provider's percentile p (0.85) scores p: constant = (1 - p) / p * value at the percentile.
A new record is scored when it is loaded; a refresh only changes rows whose score is another one under today's constant.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from catalog.ingestion.provider import provider_class, provider_names
from catalog.ingestion.records import MediaType

Connection = psycopg.Connection[Any]  # in autocommit
PERCENTILE = 0.85
_FUNCTIONS = Path(__file__).with_name("functions.sql")


class Metric(msgspec.Struct, frozen=True):
    """A provider's row of `<media>_popularity_metrics`. provider: its string in the catalog; metric: a key of meta_data."""

    provider: str
    metric: str
    percentile: float
    value: float | None
    constant: float | None
    refreshed: float | None  # the constant that all rows were last scored with

    @property
    def is_due(self) -> bool:
        """Are there rows with scores of another constant?"""
        return self.constant is not None and self.constant != self.refreshed


def configured(media_type: MediaType) -> dict[str, str]:
    """Provider string → metric, as the providers declare them."""
    classes = [provider_class(name) for name in provider_names()]
    return {
        cls.strings[media_type]: cls.popularity
        for cls in classes
        if cls.popularity and media_type in cls.strings
    }


def update_metrics(connection: Connection, media_type: MediaType) -> list[str]:
    """Enter what is declared; values and constants stay. Providers that are no longer declared stay, too. Provider strings."""
    found = configured(media_type)
    statement = _sql(
        "insert into {metrics} (provider, metric, percentile) values (%s, %s, %s) "
        "on conflict (provider) do update set metric = excluded.metric, percentile = excluded.percentile",
        media_type,
    )
    with connection.transaction():
        connection.cursor().executemany(
            statement, [(provider, metric, PERCENTILE) for provider, metric in found.items()]
        )
    return sorted(found)


def refresh_constant(connection: Connection, media_type: MediaType, provider: str, timeout: float) -> Metric:
    """Today's value at the percentile, and the constant that follows; stored and returned. Without any value both stay as they are."""
    with connection.transaction():
        connection.execute("select set_config('statement_timeout', %s, true)", [str(int(timeout * 1000))])
        before = metric_of(connection, media_type, provider)
        row = connection.execute(
            _sql("select {percentile}(%s, %s, %s)", media_type), [provider, before.metric, before.percentile]
        ).fetchone()
        value = row[0] if row else None
        if value is not None:
            constant = (1 - before.percentile) / before.percentile * (value if value > 0 else 1)
            connection.execute(
                _sql("update {metrics} set val = %s, constant = %s where provider = %s", media_type),
                [value, constant, provider],
            )
    return metric_of(connection, media_type, provider)


def metric_of(connection: Connection, media_type: MediaType, provider: str) -> Metric:
    row = connection.execute(
        _sql(
            "select provider, metric, percentile, val, constant, refreshed_constant from {metrics} where provider = %s",
            media_type,
        ),
        [provider],
    ).fetchone()
    if row is None:
        raise LookupError(f"{media_type}_popularity_metrics has no row for {provider}")
    return Metric(*row)


def note_refreshed(connection: Connection, media_type: MediaType, provider: str, constant: float) -> None:
    """All rows of the provider are scored with this constant now."""
    connection.execute(
        _sql("update {metrics} set refreshed_constant = %s where provider = %s", media_type),
        [constant, provider],
    )


def scored(connection: Connection, media_type: MediaType) -> dict[str, int]:
    """Provider → number of records that have a score."""
    query = sql.SQL("select provider, count(standardized_popularity) from {} group by 1").format(
        sql.Identifier(media_type)
    )
    return dict(connection.execute(query).fetchall())


def update_conf(
    media_type: MediaType, metric: Metric, now: datetime, batch_size: int = 10_000, timeout: float = 300
) -> dict[str, Any]:
    """The conf of the batched update that scores the provider's rows anew; the constant stands in it, so each row costs no look-up."""
    value = f"metric_value(meta_data, {sql.quote(metric.metric)})"
    score = f"{value} / nullif({value} + {metric.constant!r}, 0)"
    return {
        "query_id": f"{metric.provider}_popularity_{now:%Y%m%d}",
        "table_name": media_type,
        "select_query": f"WHERE provider = {sql.quote(metric.provider)} AND standardized_popularity IS DISTINCT FROM {score}",
        "update_query": f"SET updated_on = now(), standardized_popularity = {score}",
        "batch_size": batch_size,
        "update_timeout": timeout,
        "dry_run": False,
        "resume_update": False,
    }


def recreate_functions(connection: Connection, media_type: MediaType) -> None:
    """The functions anew, in one transaction; no table is touched. Scores are right again after the next refresh."""
    text = _FUNCTIONS.read_text(encoding="utf-8").replace("{media}", media_type)
    with connection.transaction():
        connection.execute("set local statement_timeout = '10s'")
        connection.execute(sql.SQL(text))


def _sql(statement: LiteralString, media_type: MediaType) -> sql.Composed:
    return sql.SQL(statement).format(
        metrics=sql.Identifier(f"{media_type}_popularity_metrics"),
        percentile=sql.Identifier(f"{media_type}_popularity_percentile"),
    )
