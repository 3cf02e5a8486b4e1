"""Checks that a new table or index is not suspiciously small, for example after a partial restore."""

from collections.abc import Callable, Iterable, Mapping

from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.core.session import Connection, settle
from catalog.core.wording import join_first
from catalog.data_refresh import progress
from catalog.data_refresh.columns import matching, names, temp_name
from catalog.data_refresh.shape import Shape, shape

FILTERED = 0.5  # share of a filtered index that may be missing: a longer list of terms hides more
ORPHANS = 0.01  # share of list entries that may be orphaned
ORPHANS_LEAST = 10  # orphaned entries from which their share counts
REMEDY = 'If that is right, trigger a run with the conf {"accept_shrinkage": true}. The old tables are live.'


def shrinkage(api: Connection, tables: Iterable[str]) -> list[str]:
    """Find records that a refresh would remove beyond the usual. Reads each table once.

    Args:
        api: Connection to the API database.
        tables: Names of live tables whose copies are complete. A table without a copy is skipped.

    Returns:
        One sentence with both numbers per finding.
    """
    settle(api)
    findings = []
    for table in tables:
        if progress.exists(api, temp_name(table)):
            findings += _by_source(api, table) + _by_reference(api, table)
    return findings


def refuse_shrinkage(findings: list[str], why: Callable[[], str] = str) -> None:
    """Raise Fatal if there are findings.

    Args:
        findings: What is suspiciously small.
        why: Called then; returns a sentence about why records may be missing, or "".
    """
    if findings:
        small = f"the new tables are suspiciously small: {join_first(findings, most=20, separator='; ')}."
        raise Fatal(" ".join(filter(None, (small, why(), REMEDY))))


def too_many_orphans(name: str, orphans: int, rows: int) -> list[str]:
    """Return a finding if too many rows of a table would refer to missing media."""
    if orphans >= ORPHANS_LEAST and orphans > ORPHANS * rows:
        return [f"{orphans:,} of {rows:,} rows of {name} refer to missing media"]
    return []


def shown(definition: Shape, alias: str) -> sql.Composable:
    """Return the condition of the rows that searches find: not those that were removed from their source.

    Args:
        definition: Of the live table.
        alias: Of the table in the statement.
    """
    marked = "removed_from_source" in definition.get("column", {})
    return sql.SQL("not {}.removed_from_source" if marked else "true").format(sql.Identifier(alias))


def source_of(definition: Shape, alias: str) -> sql.Composable:
    """Return the expression for the source of a row; arguments as those of `shown`."""
    columns = definition.get("column", {})
    name = next((name for name in ("source", "provider") if name in columns), None)
    return sql.SQL("coalesce({}::text, '')").format(sql.Identifier(alias, name)) if name else sql.SQL("''")


def _by_source(api: Connection, table: str) -> list[str]:
    definition = shape(api, table)
    before, now = (_counts(api, name, definition) for name in (table, temp_name(table)))
    findings = []
    if loss_limits.lost_too_many(sum(before.values()), sum(now.values()), loss_limits.TOTAL):
        findings.append(f"{table}: {sum(now.values()):,} rows, {sum(before.values()):,} are live")
    return findings + [
        f"{table}: {now.get(name, 0):,} rows of {name}, {before[name]:,} are live"
        for name in sorted(loss_limits.shrunken_sources(before, now))
    ]


def shrunken_sources(
    api: Connection, table: str, definition: Shape, changed: Iterable[tuple[str, int, int]]
) -> list[str]:
    """Return findings about a live table whose rows are changed in place.

    Rows are counted only as far as necessary, so the cost follows what is lost.

    Args:
        api: Connection to the API database, before the change.
        table: Name of the table.
        definition: Its definition.
        changed: Source, and how many of its rows are lost and gained; of the sources that change.
    """
    counted, source = shown(definition, table), source_of(definition, table)
    findings, all_lost = [], 0
    for name, lost, gained in sorted(changed):
        all_lost += (less := lost - gained)
        many = round(less / loss_limits.SOURCE)  # a source with more rows loses a smaller share
        if many >= loss_limits.SOURCE_SIZE:
            condition = sql.SQL("{} and {} = {}").format(counted, source, sql.Literal(name))
            if loss_limits.SOURCE_SIZE <= (rows := _count(api, table, condition, many + 1)) <= many:
                findings.append(f"{table}: {rows - less:,} rows of {name}, {rows:,} are live")
    many = round(all_lost / loss_limits.TOTAL)
    if (rows := _count(api, table, counted, max(many, 0))) < many:
        findings.insert(0, f"{table}: {rows - all_lost:,} rows, {rows:,} are live")
    return findings


def _count(api: Connection, table: str, condition: sql.Composable, most: int) -> int:
    """Return the number of rows that meet a condition, at most `most`."""
    query = sql.SQL("select count(*) from (select from {} where {} limit {}) few").format(
        sql.Identifier("public", table), condition, sql.Literal(most)
    )
    row = api.execute(query).fetchone()
    return int(row[0]) if row else 0


def _counts(api: Connection, table: str, definition: Shape) -> dict[str, int]:
    """Return the number of rows that searches find, by source."""
    query = sql.SQL("select {}, count(*) from {} t where {} group by 1").format(
        source_of(definition, "t"), sql.Identifier("public", table), shown(definition, "t")
    )
    return dict(api.execute(query).fetchall())


def _by_reference(api: Connection, table: str) -> list[str]:
    findings: list[str] = []
    for key in shape(api, table).get("reference", {}).values():
        query = sql.SQL("""
            select count(*), count(*) filter (where not exists (select from {temp} t where {same}))
              from {child} c where ({columns}) is not null
        """).format(
            temp=sql.Identifier("public", temp_name(table)),
            same=matching("c", key["columns"], "t", key["parents"]),
            child=sql.Identifier(key["schema"], key["child"]),
            columns=names(key["columns"], "c"),
        )
        rows, orphans = api.execute(query).fetchone() or (0, 0)
        findings += too_many_orphans(key["child"], orphans, rows)
    return findings


def shrunken_alias(alias: str, before: Mapping[str, int], now: Mapping[str, int], most: float) -> list[str]:
    """Return findings if another index behind an alias has suspiciously few documents, of all or of a source.

    Args:
        alias: Name of the alias.
        before: Documents by source behind the alias.
        now: Documents by source of the other index.
        most: Share of all documents that may be missing.
    """
    findings, total, remaining = [], sum(before.values()), sum(now.values())
    if loss_limits.lost_too_many(total, remaining, most):
        findings.append(
            f"documents of {alias}: {remaining:,} instead of {total:,} that are live, "
            f"{1 - remaining / total:.0%} fewer, where at most {most:.0%} is usual"
        )
    return findings + [
        f"documents of {name}: {now.get(name, 0):,} instead of {before[name]:,} that are live"
        for name in sorted(loss_limits.shrunken_sources(before, now))
    ]


def revealing_alias(alias: str, before: int, now: int) -> list[str]:
    """Return a finding if another filtered index behind an alias hides suspiciously few documents.

    Args:
        alias: Name of the alias.
        before: Number of sensitive documents that the alias hides.
        now: Number of those that the other index hides.
    """
    if not loss_limits.shows_too_many(before, now):
        return []
    numbers = f"{now:,} instead of {before:,} that are hidden now"
    return [f"documents that {alias} hides as sensitive: {numbers}, so the list of terms may be a wrong one"]


def shrunken_index(findings: Iterable[str]) -> str:
    """Return the refusal of an index, from the findings about its alias."""
    return (
        f"{join_first(findings, separator='; ')}. If that is right, trigger a new run with "
        '{"accept_shrinkage": true}.'
    )
