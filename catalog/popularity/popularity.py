"""How popular a record is among those of its provider: metric / (metric + constant), between 0 and 1.

The constant is made so that the record at the provider's percentile p (0.85) scores p: constant = (1 - p) / p
* value at the percentile. A new record is scored when it is loaded; a refresh only changes rows whose score
is another one under today's constant. The formula is the SQL function `popularity_score`, and nowhere else.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, LiteralString

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.database.names import query_id
from catalog.ingestion.provider import provider_class, provider_names
from catalog.loading.load import take_turn

PERCENTILE = 0.85
MAX_CONSTANT = 1e100  # popularity_score takes no greater one
_FUNCTIONS = Path(__file__).with_name("functions.sql")


class Metric(msgspec.Struct, frozen=True):
    """A provider's row of `<media>_popularity_metrics`; `metric` is a key of meta_data."""

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
        cls.catalog_names[media_type]: cls.popularity
        for cls in classes
        if cls.popularity and media_type in cls.catalog_names
    }


def update_metrics(connection: Connection, media_type: MediaType) -> list[str]:
    """Enter what is declared; values and constants stay. Providers that are no longer declared stay, too.

    A provider with another metric than before is due: its rows are scored with the one before.

    Returns:
        The provider names that are declared.
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
            take_turn(connection, media_type, provider)
            connection.execute(
                _sql(
                    """
                    insert into {metrics} as m (provider, metric, percentile)
                    values (%(provider)s, %(metric)s, %(percentile)s)
                    on conflict (provider) do update
                    set metric = excluded.metric, percentile = excluded.percentile,
                       refreshed_constant = case when m.metric = excluded.metric then m.refreshed_constant end
                    """,
                    media_type,
                ),
                values,
            )
    return sorted(found)


def refresh_constant(connection: Connection, media_type: MediaType, provider: str, timeout: float) -> Metric:
    """Determine and store the value at the percentile and the constant; both stay if there is no value.

    The constant changes between two loads of the provider, so none writes scores of the one before after
    that.

    Args:
        connection: In autocommit.
        media_type: Of the records.
        provider: Its string in the catalog.
        timeout: Seconds that a statement may take, and that a load is waited for.
    """
    before = metric_of(connection, media_type, provider)
    with connection.transaction():
        _limit(connection, timeout)
        row = connection.execute(
            _sql("select {percentile}(%s, %s, %s)", media_type), [provider, before.metric, before.percentile]
        ).fetchone()
    value = row[0] if row else None
    if value is None:
        return before
    constant = min((1 - before.percentile) / before.percentile * (value or 1), MAX_CONSTANT)
    with connection.transaction():
        _limit(connection, timeout)
        take_turn(connection, media_type, provider)
        connection.execute(
            _sql("update {metrics} set val = %s, constant = %s where provider = %s", media_type),
            [value, constant, provider],
        )
    return metric_of(connection, media_type, provider)


def metric_of(connection: Connection, media_type: MediaType, provider: str) -> Metric:
    row = connection.execute(
        _sql(
            "select provider, metric, percentile, val, constant, refreshed_constant"
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

    Args:
        connection: In autocommit.
        media_type: Of the records.
        providers: Their names in the catalog.
        force: All that have a constant.
    """
    metrics = [metric_of(connection, media_type, provider) for provider in providers]
    return [
        m
        for m in metrics
        if m.is_due
        or (force and m.constant is not None)
        or (m.constant is None and _has_scores(connection, media_type, m.provider))
    ]


def _has_scores(connection: Connection, media_type: MediaType, provider: str) -> bool:
    """Without a constant no record may have a score. An adopted catalog may hold some."""
    query = sql.SQL(
        "select exists (select from {} where provider = %s and standardized_popularity is not null)"
    ).format(sql.Identifier(media_type))
    row = connection.execute(query, [provider]).fetchone()
    return bool(row and row[0])


def note_refreshed(connection: Connection, media_type: MediaType, provider: str, timeout: float) -> None:
    """Note that all rows of the provider are scored with today's constant, after looking at each of them.

    Args:
        connection: In autocommit.
        media_type: Of the records.
        provider: Its string in the catalog.
        timeout: Seconds that it may take.

    Raises:
        Fatal: A row has another score; the provider is due from then on.
    """
    with connection.transaction():
        _limit(connection, timeout)
        # First, so that metric and constant stay as they are while the rows are looked at.
        connection.execute(
            _sql("select from {metrics} where provider = %s for no key update", media_type), [provider]
        )
        noted = connection.execute(
            _sql(
                """
                update {metrics} m set refreshed_constant = m.constant where m.provider = %s and not exists (
                    select from {table} t where t.provider = m.provider
                       and t.standardized_popularity
                           is distinct from popularity_score(t.meta_data, m.metric, m.constant)
                )
                """,
                media_type,
            ),
            [provider],
        ).rowcount
        if not noted:  # whatever was noted before is not so
            connection.execute(
                _sql("update {metrics} set refreshed_constant = null where provider = %s", media_type),
                [provider],
            )
    if not noted:
        raise Fatal(
            f"{provider}: there are rows without the score of today's constant, so it is due. "
            f"Trigger a new run of {media_type}_popularity_refresh: it looks for them anew."
        )


def scored(connection: Connection, media_type: MediaType) -> dict[str, int]:
    """Provider → number of records that have a score."""
    query = sql.SQL("select provider, count(standardized_popularity) from {} group by 1").format(
        sql.Identifier(media_type)
    )
    return dict(connection.execute(query).fetchall())


def update_conf(
    media_type: MediaType, provider: str, batch_size: int = 10_000, timeout: float = 300
) -> dict[str, Any]:
    """The conf of the batched update that rescores the provider's rows.

    It says nothing that may change: metric and constant are asked for by each statement, once, not once a
    row. So a run of it that is repeated at any later time, or goes on with rows that another one has
    selected, gives right scores.

    Args:
        media_type: Of the records.
        provider: Its string in the catalog; any text.
        batch_size: Rows in a batch.
        timeout: Seconds that a batch may take.
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
        "resume_update": True,  # what an earlier run left is the same work
    }


def recreate_functions(connection: Connection, media_type: MediaType) -> None:
    """Recreate the functions in one transaction; no table is changed until the next refresh."""
    text = _FUNCTIONS.read_text(encoding="utf-8").replace("{media}", media_type)
    with connection.transaction():
        connection.execute("set local statement_timeout = '10s'")
        connection.execute(sql.SQL(text))


def _sql(statement: LiteralString, media_type: MediaType) -> sql.Composed:
    return sql.SQL(statement).format(
        metrics=sql.Identifier(f"{media_type}_popularity_metrics"),
        percentile=sql.Identifier(f"{media_type}_popularity_percentile"),
        table=sql.Identifier(media_type),
    )


def _limit(connection: Connection, seconds: float) -> None:
    connection.execute("select set_config('statement_timeout', %s, true)", [str(int(seconds * 1000))])
