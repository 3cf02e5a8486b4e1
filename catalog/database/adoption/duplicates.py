"""Search for rows of a table that have the same keys, although the keys should be unique."""

import msgspec
from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.adoption.inventory import METRICS
from catalog.database.sql_files import sql_file

_SHOWN = 3  # examples


class Duplicates(msgspec.Struct, frozen=True):
    """Rows of a table with the same keys.

    Attributes:
        table: Name of the table.
        keys: Columns and expressions that should be unique together.
        groups: Number of keys that several rows have.
        rows: Number of rows in excess, over all groups.
        examples: Some groups, for people.
    """

    table: str
    keys: tuple[str, ...]
    groups: int
    rows: int
    examples: tuple[str, ...]


def find_duplicates(connection: Connection, table: str, keys: tuple[str, ...]) -> Duplicates:
    """Return the duplicates of a table, after reading all its rows.

    Args:
        connection: Connection to the database.
        table: Name of the table.
        keys: Columns and expressions that should be unique together. A row in which one of them is NULL has
            no duplicates.
    """
    names = grouping(table, keys)
    [(shared, rows)] = connection.execute(
        sql.SQL("select count(*), coalesce(sum(n - 1), 0)::bigint from {groups} g").format(**names)
    ).fetchall()
    examples: list[str] = []
    if shared:
        members = sql.SQL(
            "select md5(concat_ws(' ', {keys})), {shown}::text from {table} t "
            "where ({keys}) in (select {names} from {groups} g limit {few})"
        ).format(
            **names,
            shown=sql.Identifier("provider" if table in METRICS else "identifier"),
            few=sql.Literal(_SHOWN),
        )
        found = connection.execute(
            sql.SQL(
                "select string_agg(text, ', ') from ({members}) r (key, text) group by key order by 1"
            ).format(members=members)
        )
        examples = [text for (text,) in found]
    return Duplicates(table, keys, shared, rows, tuple(examples))


def different_records(connection: Connection, table: str) -> int:
    """Return the number of identifiers that different records of a media table share."""
    query = sql.SQL(sql_file("adoption/different_records")).format(table=sql.Identifier("public", table))
    return int(value(connection, query))


def grouping(table: str, keys: tuple[str, ...]) -> dict[str, sql.Composable]:
    """Return the parts of statements that group the rows of a table by keys.

    Args:
        table: Name of the table.
        keys: Columns and expressions such as `md5(foreign_identifier)`. In a group they are called k1, k2
            and so on.

    Returns:
        `table`, `keys`; `groups`: the query of the groups with several rows; `names` and `qualified`: the
        keys in a group, plain and of the alias `g`.
    """
    comma = sql.SQL(", ")
    expressions = [sql.SQL(key) for key in keys]
    called = [sql.Identifier(f"k{n}") for n, _ in enumerate(keys, 1)]
    present = sql.SQL(" and ").join(sql.SQL("{} is not null").format(key) for key in expressions)
    groups = sql.SQL(
        "(select {calls}, count(*) as n from {table} where {present} group by {keys} having count(*) > 1)"
    ).format(
        calls=comma.join(
            sql.SQL("{} as {}").format(key, name) for key, name in zip(expressions, called, strict=True)
        ),
        table=sql.Identifier("public", table),
        present=present,
        keys=comma.join(expressions),
    )
    return {
        "table": sql.Identifier("public", table),
        "keys": comma.join(expressions),
        "names": comma.join(called),
        "qualified": comma.join(sql.SQL("g.{}").format(name) for name in called),
        "groups": groups,
    }
