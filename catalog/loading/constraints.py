"""Rows that a constraint of an adopted table refuses: they are rejected, and the rest of a load goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from catalog.core.columns import COLUMNS
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql

Violation = psycopg.errors.CheckViolation | psycopg.errors.NotNullViolation
VIOLATIONS = (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation)
_STATEMENTS = Path(__file__).parent / "sql"
_TABLE = sql.Identifier("would_be")


def load_statement(name: str) -> sql.SQL:
    """Return a statement of a load, from its file."""
    return sql.SQL(read_sql(_STATEMENTS / f"{name}.sql"))


def refuse_rows(
    connection: Connection, media_type: MediaType, names: Mapping[str, sql.Composable], error: Violation
) -> int:
    """Mark the rows of the loading table that violate a constraint as rejected.

    Args:
        connection: Connection to the catalog database, in the transaction of the load.
        media_type: Media type of the rows.
        names: The values of the placeholders in the SQL files.
        error: What the insert or the update of the rows ended with.

    Returns:
        The number of rows that are marked; 0 if they cannot be told.
    """
    found = _condition(connection, media_type, error)
    if found is None:
        return 0
    condition, reason = found
    with connection.transaction():

        def run(statement: sql.SQL, **others: sql.Composable) -> psycopg.Cursor[Any]:
            return connection.execute(statement.format(**{**names, **others}))

        run(load_statement("classify"))
        # A copy of the new and the changed rows, as they would be, in a table without constraints.
        run(sql.SQL("create temp table would_be on commit drop as select * from {table} with no data"))
        run(load_statement("insert"), table=_TABLE)
        run(
            sql.SQL(
                "insert into would_be select old.* from {table} old"
                " join verdict on verdict.identifier = old.identifier and verdict.outcome = 'changed'"
            )
        )
        run(load_statement("update"), table=_TABLE)
        marked = run(load_statement("refused"), condition=condition, reason=sql.Literal(reason)).rowcount
        run(sql.SQL("drop table would_be, verdict"))
    return marked


def _condition(
    connection: Connection, media_type: MediaType, error: Violation
) -> tuple[sql.Composable, str] | None:
    """Return what each row has to meet, and the reason of a reject.

    Returns None for a column that no load fills, for a constraint of a domain or of another table, and if a
    trigger of the table may change what the constraint is about: then the rows cannot be told by what their
    source sent.
    """
    column, name = error.diag.column_name, error.diag.constraint_name
    is_null = isinstance(error, psycopg.errors.NotNullViolation)
    if error.diag.table_name is None or (is_null and column not in COLUMNS[media_type]):
        return None
    relation = sql.Identifier(error.diag.schema_name or "public", error.diag.table_name)
    values = {
        "relation": relation.as_string(),
        "media": f"public.{media_type}",
        "constraint": None if is_null else name,
        "column": column if is_null else None,
    }
    row = connection.execute(load_statement("constraint"), values).fetchone()
    if row is None:
        return None
    expression: LiteralString = row[0]  # the server's own text of the constraint
    reason = f"no {column}, which the table requires" if is_null else f"violates the check constraint {name}"
    return sql.SQL(expression), reason
