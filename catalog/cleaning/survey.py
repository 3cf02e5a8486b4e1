"""What a rule would change, and what it would leave: counts and examples, without changing anything."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import sql

from catalog.cleaning.rule import Cleaned, Rule
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.sql_files import trusted
from catalog.database.computed_update import Row, column_list

EXAMPLES = 3  # rows, of those that change, and of those that stay for one reason
LONGEST = 300  # characters of a value in an example
MAX_CLAIMS = 1_000_000  # new URLs that a survey remembers
URL_TAKEN = "another record has the URL that this one would get"
_FETCH = 2_000  # rows


class Example(msgspec.Struct, frozen=True):
    """A row of a survey.

    Attributes:
        identifier: The record.
        before: Its values, cut if they are long.
        after: The values it would get; empty if it stays.
    """

    identifier: str
    before: dict[str, Any]
    after: dict[str, Any] = {}


class Survey(msgspec.Struct):
    """What a rule finds in rows.

    Attributes:
        rows: Number of rows that would change.
        again: Those of them that another rule would change, too, which counts them first; see `survey`.
        examples: A few of them.
        left: Reason → number of rows that have a value that ingestion would not write, and keep it.
        left_examples: Reason → a few of them.
    """

    rows: int = 0
    again: int = 0
    examples: list[Example] = []
    left: dict[str, int] = {}
    left_examples: dict[str, list[Example]] = {}

    def add(self, identifier: object, row: Mapping[str, Any], cleaned: Cleaned) -> None:
        """Count a row that was judged."""
        if cleaned.changes:
            self.rows += 1
            if len(self.examples) < EXAMPLES:
                before = {name: _short(row[name]) for name in cleaned.changes}
                after = {name: _short(value) for name, value in cleaned.changes.items()}
                self.examples.append(Example(str(identifier), before, after))
        for reason in dict.fromkeys(cleaned.left):
            self.left[reason] = self.left.get(reason, 0) + 1
            kept = self.left_examples.setdefault(reason, [])
            if len(kept) < EXAMPLES:
                kept.append(Example(str(identifier), {k: _short(v) for k, v in row.items() if v is not None}))


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= LONGEST:
        return value
    return text[:LONGEST] + "…"


def judge_all(
    connection: Connection, rule: Rule, media: MediaType, rows: Sequence[Row], claimed: set[int] | None = None
) -> list[Cleaned]:
    """Judge rows; a URL that another record has, or that two of the rows would get, is not changed.

    Args:
        connection: Connection to the catalog database.
        rule: The rule.
        media: The media table.
        rows: The rows, with the columns that the rule needs.
        claimed: Hashes of URLs that earlier rows would get.
    """
    judged = [rule.judge(row) for row in rows]
    wanted = [cleaned.changes["url"] for cleaned in judged if "url" in cleaned.changes]
    if not wanted:
        return judged
    query = sql.SQL("select url from {} where url = any({}::text[])").format(
        sql.Identifier(media), sql.Literal(wanted)
    )
    taken = {url for (url,) in connection.execute(query)}
    claimed = set() if claimed is None else claimed
    for cleaned in judged:
        url = cleaned.changes.get("url")
        if url is None:
            continue
        if url in taken or hash(url) in claimed:
            del cleaned.changes["url"]
            cleaned.left.append(URL_TAKEN)
        elif len(claimed) < MAX_CLAIMS:
            claimed.add(hash(url))
    return judged


def survey(
    connection: Connection,
    rules: Iterable[Rule],
    media: MediaType,
    *,
    share: float = 100,
    selected: str | None = None,
    first: Sequence[Rule] = (),
) -> dict[str, Survey]:
    """Return what rules would change in a table; reads the table once, in one snapshot, and changes nothing.

    Args:
        connection: Connection to the catalog database, in autocommit.
        rules: The rules.
        media: The media table.
        share: Per cent of the table's pages to read.
        selected: A table of selected rows (column `row_identifier`); the others are not read.
        first: Other rules, which count a row before these: `Survey.again` has the rows that one of them would
            change. They do not change `url`, since whether that is possible depends on other rows.

    Returns:
        Name of the rule → what it finds in the rows that were read.
    """
    chosen = list(rules)
    surveys = {rule.name: Survey() for rule in chosen}
    if not chosen:
        return surveys
    asked = [*chosen, *first]
    columns = tuple(dict.fromkeys(name for rule in asked for name in rule.needs(media)))
    tests = [sql.SQL("coalesce({}, false)").format(trusted(f"({rule.where(media)})")) for rule in asked]
    table: sql.Composable = sql.Identifier(media)
    if share < 100:
        table += sql.SQL(" tablesample system ({}) repeatable (1)").format(sql.Literal(share))
    if selected:
        table += sql.SQL(" join {} on {}.identifier = row_identifier").format(
            sql.Identifier(selected), sql.Identifier(media)
        )
    claimed = set[int]()

    def values_of(rule: Rule, row: tuple[Any, ...]) -> Row:
        return _row(rule.needs(media), columns, row[1 + len(asked) :])

    def counts_before(row: tuple[Any, ...]) -> bool:
        """Return whether one of the other rules would change a row."""
        tested = row[1 + len(chosen) : 1 + len(asked)]
        return any(
            found and rule.judge(values_of(rule, row)).changes
            for rule, found in zip(first, tested, strict=True)
        )

    with connection.transaction(force_rollback=True):
        connection.execute("set transaction isolation level repeatable read, read only")
        query = sql.SQL("select {}.identifier, {}, {} from {} where {}").format(
            sql.Identifier(media),
            sql.SQL(", ").join(tests),
            column_list(connection, media, columns),
            table,
            sql.SQL(" or ").join(tests[: len(chosen)]),
        )
        for rows in _stream(connection, query):
            for place, rule in enumerate(chosen, 1):
                these = [row for row in rows if row[place]]
                given = [values_of(rule, row) for row in these]
                judged = judge_all(connection, rule, media, given, claimed)
                for row, values, cleaned in zip(these, given, judged, strict=True):
                    surveys[rule.name].add(row[0], values, cleaned)
                    if cleaned.changes and counts_before(row):
                        surveys[rule.name].again += 1
    return surveys


def _row(wanted: Sequence[str], columns: Sequence[str], values: Sequence[Any]) -> Row:
    row = dict(zip(columns, values, strict=True))
    return {name: row[name] for name in wanted}


def _stream(connection: Connection, query: sql.Composed) -> Iterator[list[tuple[Any, ...]]]:
    with connection.cursor("survey") as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(_FETCH):
            yield rows
