"""Rows that a constraint of an adopted table refuses: they are rejected, and the rest of a load goes on."""

from typing import LiteralString

import psycopg
from psycopg import sql

from catalog.core.columns import COLUMNS
from catalog.core.media import MediaType
from catalog.loading.statements import Statements

Violation = psycopg.errors.CheckViolation | psycopg.errors.NotNullViolation
VIOLATIONS = (psycopg.errors.CheckViolation, psycopg.errors.NotNullViolation)
_TABLE = sql.Identifier("would_be")


def refuse_rows(statements: Statements, media_type: MediaType, error: Violation) -> int:
    """Mark the rows of the loading table that violate a constraint as rejected.

    Args:
        statements: The statements of the load.
        media_type: Media type of the rows.
        error: What the insert or the update of the rows ended with.

    Returns:
        The number of rows that are marked; 0 if they cannot be told. A row that stays deleted is not marked.
    """
    found = _condition(statements, media_type, error)
    if found is None:
        return 0
    condition, reason = found
    with statements.connection.transaction():
        statements.run("classify")
        statements.run("urls", moves=sql.SQL("false"))
        # Which rows get a URL depends on those that are refused here, so only deleted ones are left out.
        statements.execute(
            "update verdict set outcome = case when identifier is null then 'new' else 'changed' end"
            " where outcome = 'url taken'"
        )
        stored = _create_copy(statements)
        statements.run("insert", table=_TABLE)
        statements.execute(
            "insert into would_be ({stored}) overriding system value select {stored} from {table}"
            " where identifier in (select identifier from verdict where outcome = 'changed')",
            stored=stored,
        )
        statements.run("update", table=_TABLE)
        marked = statements.run("refused", condition=condition, reason=sql.Literal(reason)).rowcount
        statements.execute("drop table would_be, verdict")
    return marked


def _create_copy(statements: Statements) -> sql.Composable:
    """Create a table for the new and the changed rows as they would be, without constraints.

    Columns that no load fills have the values there that an insert gives them.

    Returns:
        The columns of a stored row; those that are generated follow from the others.
    """
    statements.execute(
        "create temp table would_be (like {table} including defaults including generated including identity)"
        " on commit drop"
    )
    columns = statements.execute(
        "select attname, attgenerated = '', attnotnull and attidentity = '' from pg_attribute"
        " where attrelid = 'pg_temp.would_be'::regclass and attnum > 0"
    ).fetchall()
    for name, _, is_required in columns:
        if is_required:
            statements.execute(
                "alter table would_be alter {column} drop not null", column=sql.Identifier(name)
            )
    return sql.SQL(", ").join(sql.Identifier(name) for name, is_stored, _ in columns if is_stored)


def _condition(
    statements: Statements, media_type: MediaType, error: Violation
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
    row = statements.run("constraint", values).fetchone()
    if row is None:
        return None
    expression: LiteralString = row[0]  # the server's own text of the constraint
    reason = f"no {column}, which the table requires" if is_null else f"violates the check constraint {name}"
    return sql.SQL(expression), reason
