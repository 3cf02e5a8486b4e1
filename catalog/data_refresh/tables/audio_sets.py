"""Copy of the audio sets, in one go: they are few, and their key has two columns."""

from psycopg import sql

from catalog.core.loss_limits import allowed_rejects
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import Column, names, qualified_name, temp_name
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.rejects import REFUSED, RejectedRecords, reason_of
from catalog.data_refresh.tables.sequences import check_defaults

TABLE = "audioset"
SHARED_URL = "url is another set's as well"
_SAME = sql.SQL("(s.foreign_identifier, s.provider) = (l.foreign_identifier, l.provider)")


def copy_sets(upstream: Connection, api: Connection, columns: list[Column], copied: TableProgress) -> None:
    """Fill the new table of audio sets and add the counts to `copied`.

    URLs are unique in the API's table: of sets that share one, the first is copied. A set that the table
    cannot store is rejected, like any record.

    Args:
        upstream: Connection to the catalog database.
        api: Connection to the API database, in a transaction.
        columns: Columns of the API's table.
        copied: Progress of the copy, updated in place.
    """
    shared = [c for c in columns if c.upstream]
    too_long = [
        sql.SQL("when length({}) > {} then {}").format(
            sql.Identifier(c.name), sql.Literal(c.widest), sql.Literal(c.name)
        )
        for c in shared
        if c.widest
    ]
    parts = {
        "values": sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in shared),
        "too_long": sql.SQL("case {} else null end").format(
            sql.SQL(" ").join(too_long or [sql.SQL("when false then ''").format()])
        ),
        "columns": names(c.name for c in shared),
    }
    counts = sql.SQL("select {too_long}, count(*) from public.audioset_view group by 1").format(**parts)
    counted: dict[str | None, int] = dict(upstream.execute(counts).fetchall())
    total, fitting = sum(counted.values()), counted.pop(None, 0)
    staged = _stage(upstream, api, shared, parts)
    rejects = RejectedRecords()
    ranges, allowed = [(1, staged)], allowed_rejects(total)
    own = [c.name for c in columns if not c.upstream]
    while ranges:
        first, last = ranges.pop()
        try:
            with api.transaction():
                known, new = _insert(api, shared, own, first, last)
        except REFUSED as error:
            if first < last:
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]
                continue
            rejects.add(_key(api, first), reason_of(error))
            rejects.check(copied, allowed)
        else:
            copied.rows += known + new
            copied.new += new
    rejected = {f"{name} is too long for the API's table": number for name, number in counted.items()}
    rejected[SHARED_URL] = fitting - staged
    copied.rejected, copied.done = {reason: number for reason, number in rejected.items() if number > 0}, True
    rejects.note(api, copied)


def _stage(
    upstream: Connection, api: Connection, shared: list[Column], parts: dict[str, sql.Composed]
) -> int:
    """Copy the sets as text to a numbered staging table of the API database, and return their number."""
    texts = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(c.name)) for c in shared)
    api.execute(
        sql.SQL("create temporary table pg_temp.stage (n serial primary key, {}) on commit drop").format(
            texts
        )
    )
    out = sql.SQL("""
        copy (select distinct on (coalesce(url, provider || ' ' || foreign_identifier)) {values}
                from public.audioset_view where {too_long} is null
               order by coalesce(url, provider || ' ' || foreign_identifier), foreign_identifier, provider)
          to stdout
    """).format(**parts)
    into = sql.SQL("copy pg_temp.stage ({columns}) from stdin").format(**parts)
    with (
        api.cursor() as writer,
        writer.copy(into) as target,
        upstream.cursor() as reader,
        reader.copy(out) as source,
    ):
        for data in source:
            target.write(data)
    return int(value(api, "select count(*) from pg_temp.stage"))


def _insert(api: Connection, shared: list[Column], own: list[str], first: int, last: int) -> tuple[int, int]:
    """Insert known sets with the API's own columns, and new sets with defaults; return both counts."""
    types = dict(
        api.execute(
            "select attname::text, format_type(atttypid, null) from pg_attribute "
            "where attrelid = to_regclass(%s)",
            [qualified_name(temp_name(TABLE))],
        ).fetchall()
    )
    dates = [name for name in own if name in ("created_on", "updated_on")]
    parts = {
        "temp": sql.Identifier("public", temp_name(TABLE)),
        "live": sql.Identifier("public", TABLE),
        "same": _SAME,
        "own": names(["id", *own]),
        "theirs": names(["id", *own], "l"),
        "columns": names(c.name for c in shared),
        "staged": sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Identifier("s", c.name), sql.SQL(types[c.name])) for c in shared
        ),
        "dated": sql.SQL("").join(sql.SQL("{}, ").format(sql.Identifier(name)) for name in dates),
        "now": sql.SQL("now(), " * len(dates)),
    }
    known = """
        insert into {temp} ({own}, {columns}) overriding system value
        select {theirs}, {staged} from pg_temp.stage s join {live} l on {same} where n between %s and %s
    """
    new = """
        insert into {temp} ({dated} {columns}) select {now} {staged} from pg_temp.stage s
         where n between %s and %s and not exists (select from {live} l where {same})
    """
    counts = [api.execute(sql.SQL(text).format(**parts), [first, last]).rowcount for text in (known, new)]
    return counts[0], counts[1]


def _key(api: Connection, number: int) -> str:
    """Return provider and identifier of a staged set. Raises Fatal if the table cannot store any new set."""
    query = sql.SQL("""
        select provider, foreign_identifier, exists (select from {live} l where {same})
          from pg_temp.stage s where n = %s
    """).format(live=sql.Identifier("public", TABLE), same=_SAME)
    [(provider, identifier, known)] = api.execute(query, [number]).fetchall()
    if not known:
        check_defaults(api, TABLE)
    return f"{provider} {identifier}"
