"""Checks that a new table or index does not lack many records, for example after a partial restore.

Of tables, the same records are compared, so that others in their place do not hide a loss.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import LiteralString

from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection, settle
from catalog.data_refresh.tables.columns import equal_columns, names, temp_name
from catalog.data_refresh.tables.shape import Shape, shape
from catalog.database.refusals import Finding, Found, Judge

NO_SOURCE = "no source"  # how records without one are called
FILTERED = 0.5  # share of a filtered index that may be missing: a longer list of terms hides more


def rows_of(table: str) -> str:
    """Return how a loss of rows is called where it is noted."""
    return f"{table} rows"


def references_to(table: str) -> str:
    """Return how a loss of what refers to these rows is called where it is noted."""
    return f"references to {table} rows"


def subject_of(source: str | None) -> str:
    """Return what a finding about rows or documents is about: a source, or everything."""
    return "all" if source is None else f"source {source!r}"


def shrinkage(api: Connection, tables: Iterable[str]) -> dict[str, list[Finding]]:
    """Find records that a refresh would remove beyond the usual. Reads each table once.

    Args:
        api: Connection to the API database.
        tables: Names of live tables whose copies are complete. A table without a copy is skipped.

    Returns:
        The findings, by kind of loss: of rows, and of what refers to them.
    """
    settle(api)
    findings: dict[str, list[Finding]] = {}
    for table in tables:
        if relation_exists(api, temp_name(table)):
            findings |= {
                rows_of(table): _by_source(api, table),
                references_to(table): _by_reference(api, table),
            }
    return findings


def refuse_shrinkage(found: Found, judge: Judge, why: Callable[[], str] = str) -> None:
    """Raise Fatal if there are findings that are not accepted.

    Args:
        found: What would be lost.
        judge: Says what of it is accepted.
        why: Called if something is not; returns a sentence about why records may be missing, or "".
    """
    judged = judge(found)
    if judged.refused:
        lost = f"suspiciously many records would be lost: {judged.problems}."
        raise Fatal(f"{judged.message(lost, why())} The old tables are live.")


def too_many_orphans(name: str, orphans: int, rows: int) -> list[Finding]:
    """Return a finding if too many rows of a table would refer to missing media."""
    if loss_limits.orphaned_too_many(orphans, rows):
        text = f"{orphans:,} of {rows:,} rows of {name} refer to missing media"
        return [Finding(name, rows, rows - orphans, text)]
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


def _by_source(api: Connection, table: str) -> list[Finding]:
    definition = shape(api, table)
    before, _ = _counts(api, table, definition)
    remaining, new = _counts(api, table, definition, temp_name(table))
    findings = []
    if loss_limits.lost_too_many(sum(before.values()), sum(remaining.values()), loss_limits.TOTAL):
        findings.append(_finding(table, sum(remaining.values()), sum(before.values()), sum(new.values())))
    return findings + [
        _finding(table, remaining.get(name, 0), before[name], new.get(name, 0), source=name)
        for name in sorted(loss_limits.shrunken_sources(before, remaining))
    ]


def _finding(table: str, remaining: int, before: int, new: int = 0, *, source: str | None = None) -> Finding:
    """Say how many rows a table would lose.

    Args:
        table: Name of the live table.
        remaining: Number of live rows that stay.
        before: Number of live rows.
        new: Number of rows that come.
        source: Their source; None for all rows.
    """
    of_source = "" if source is None else f" of {source or NO_SOURCE}"
    others = f", and {new:,} others are new" if new else ""
    text = f"{table}: {remaining:,} rows{of_source}, {before:,} are live{others}"
    return Finding(subject_of(source), before, remaining, text)


def shrunken_sources(
    api: Connection, table: str, definition: Shape, changed: Iterable[tuple[str, int, int]]
) -> list[Finding]:
    """Return findings about a live table whose rows are changed in place.

    Rows are counted only as far as necessary, so the cost follows what is lost.

    Args:
        api: Connection to the API database, before the change.
        table: Name of the table.
        definition: Its definition.
        changed: Source, how many of its rows are lost, and how many of these get another source; of the
            sources that change.
    """
    counted, source = shown(definition, table), source_of(definition, table)
    findings, all_lost = [], 0
    for name, less, moved in sorted(changed):
        all_lost += less - moved
        many = round(less / loss_limits.SOURCE)  # a source with more rows loses a smaller share
        if many >= loss_limits.SOURCE_SIZE:
            condition = sql.SQL("{} and {} = {}").format(counted, source, sql.Literal(name))
            if loss_limits.SOURCE_SIZE <= (rows := _count(api, table, condition, many + 1)) <= many:
                findings.append(_finding(table, rows - less, rows, source=name))
    many = max(round(all_lost / loss_limits.TOTAL), 0)  # a table with as many rows loses no larger share
    rows = _count(api, table, counted, many)
    if rows < many and loss_limits.lost_too_many(rows, rows - all_lost, loss_limits.TOTAL):
        findings.insert(0, _finding(table, rows - all_lost, rows))
    return findings


def _count(api: Connection, table: str, condition: sql.Composable, most: int) -> int:
    """Return the number of rows that meet a condition, at most `most`."""
    query = sql.SQL("select count(*) from (select from {} where {} limit {}) few").format(
        sql.Identifier("public", table), condition, sql.Literal(most)
    )
    return int(value(api, query))


def _counts(
    api: Connection, table: str, definition: Shape, copy: str = ""
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the number of rows that searches find, by source: of known records, and of new ones.

    A row of a known record has the id of the live one; new rows have got their ids since.

    Args:
        api: Connection to the API database.
        table: Name of the live table.
        definition: Its definition.
        copy: Name of a copy that is counted; "" to count the live table.
    """
    numbered = definition["column"]["id"]["type"] in ("integer", "bigint")
    newest: LiteralString = "select max(id) from {live}" if copy and numbered else "select null::bigint"
    query = sql.SQL("""
        select {source}, count(*) filter (where t.id <= newest is not false),
               count(*) filter (where t.id > newest)
          from {counted} t, ({newest}) n (newest) where {shown} group by 1
        """).format(
        source=source_of(definition, "t"),
        counted=sql.Identifier("public", copy or table),
        newest=sql.SQL(newest).format(live=sql.Identifier("public", table)),
        shown=shown(definition, "t"),
    )
    rows = api.execute(query).fetchall()
    return {name: known for name, known, _ in rows}, {name: new for name, _, new in rows}


def _by_reference(api: Connection, table: str) -> list[Finding]:
    findings: list[Finding] = []
    for key in shape(api, table).get("reference", {}).values():
        query = sql.SQL("""
            select count(*), count(*) filter (where not exists (select from {temp} t where {same}))
              from {child} c where ({columns}) is not null
        """).format(
            temp=sql.Identifier("public", temp_name(table)),
            same=equal_columns("c", key["columns"], "t", key["parents"]),
            child=sql.Identifier(key["schema"], key["child"]),
            columns=names(key["columns"], "c"),
        )
        [(rows, orphans)] = api.execute(query).fetchall()
        findings += too_many_orphans(key["child"], orphans, rows)
    return findings


def shrunken_alias(
    alias: str, before: Mapping[str, int], now: Mapping[str, int], most: float
) -> list[Finding]:
    """Return findings if another index behind an alias has suspiciously few documents, of all or of a source.

    Args:
        alias: Name of the alias.
        before: Documents by source behind the alias.
        now: Documents by source of the other index.
        most: Share of all documents that may be missing.
    """
    findings: list[Finding] = []
    total, remaining = sum(before.values()), sum(now.values())
    if loss_limits.lost_too_many(total, remaining, most):
        text = (
            f"documents of {alias}: {remaining:,} instead of {total:,} that are live, "
            f"{1 - remaining / total:.0%} fewer, where at most {most:.0%} is usual"
        )
        findings.append(Finding(subject_of(None), total, remaining, text))
    for name in sorted(loss_limits.shrunken_sources(before, now)):
        have, had = now.get(name, 0), before[name]
        text = f"documents of {name or NO_SOURCE}: {have:,} instead of {had:,} that are live"
        findings.append(Finding(subject_of(name), had, have, text))
    return findings
