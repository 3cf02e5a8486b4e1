"""The copy of audio sets: they are few, and known by two columns instead of an identifier, so they are copied at once and joined there."""

from typing import Any

import psycopg
from psycopg import sql

from catalog.data_refresh.columns import Column, Copied, names

Connection = psycopg.Connection[Any]
TOO_LONG, SHARED_URL = "a value is too long for the API's table", "url is another set's as well"


def copy_sets(
    upstream: Connection, api: Connection, temp: sql.Composable, columns: list[Column], copied: Copied
) -> None:
    """Fill `temp`, a table like audioset; what came of it is noted in `copied`. Runs within a transaction of `api`.

    The API wants each URL once: of sets that share one, the first is taken.
    """
    shared = [c for c in columns if c.upstream]
    fits = [
        sql.SQL("coalesce(length({}), 0) <= {}").format(sql.Identifier(c.name), sql.Literal(c.widest))
        for c in shared
        if c.widest
    ]
    values = [sql.SQL("{}::{}").format(sql.Identifier(c.name), sql.SQL(c.type)) for c in shared]
    parts = {
        "temp": temp,
        "values": sql.SQL(", ").join(values),
        "fits": sql.SQL(" and ").join(fits) if fits else sql.SQL("true"),
        "columns": names(c.name for c in shared),
        "staged": names((c.name for c in shared), "s"),
    }
    counts = "select count(*), count(*) filter (where {fits}) from audioset_view"
    total, fitting = upstream.execute(sql.SQL(counts).format(**parts)).fetchone() or (0, 0)
    api.execute(
        sql.SQL("create temp table stage on commit drop as select {columns} from {temp}").format(**parts)
    )
    out = sql.SQL("""
        copy (select distinct on (coalesce(url, provider || ' ' || foreign_identifier)) {values} from audioset_view where {fits}
               order by coalesce(url, provider || ' ' || foreign_identifier), foreign_identifier, provider)
        to stdout (format binary)
    """).format(**parts)
    into = sql.SQL("copy stage ({columns}) from stdin (format binary)").format(**parts)
    with (
        api.cursor() as writer,
        writer.copy(into) as target,
        upstream.cursor() as reader,
        reader.copy(out) as source,
    ):
        for data in source:
            target.write(data)
    copied.rows = api.execute("select count(*) from stage").fetchone()[0]  # type: ignore[index]
    copied.new = _insert(api, parts, [c.name for c in columns if not c.upstream])
    rejected = {TOO_LONG: total - fitting, SHARED_URL: fitting - copied.rows}
    copied.rejected, copied.done = {reason: number for reason, number in rejected.items() if number > 0}, True


def _insert(api: Connection, parts: dict[str, Any], own: list[str]) -> int:
    """Known sets keep their id and whatever else only the API knows of them; the number of new ones, which get theirs by default."""
    same = sql.SQL("(s.foreign_identifier, s.provider) = (l.foreign_identifier, l.provider)")
    known = sql.SQL(
        "insert into {temp} ({own}, {columns}) select {theirs}, {staged} from stage s join audioset l on {same}"
    )
    api.execute(known.format(own=names(["id", *own]), theirs=names(["id", *own], "l"), same=same, **parts))
    dates = [name for name in own if name in ("created_on", "updated_on")]
    dated = sql.SQL("").join(sql.SQL("{}, ").format(sql.Identifier(name)) for name in dates)
    new = sql.SQL("""
        insert into {temp} ({dated} {columns}) select {now} {staged} from stage s where not exists (select from audioset l where {same})
    """)
    return api.execute(
        new.format(dated=dated, now=sql.SQL("now(), " * len(dates)), same=same, **parts)
    ).rowcount
