"""Rows of a copy as streams in the binary format of COPY: which rows, how they are read and written."""

from collections.abc import Iterable, Iterator
from uuid import UUID

from psycopg import sql

from catalog.core.session import Connection
from catalog.data_refresh.columns import Column, names, temp_name

CHUNK = 1 << 18  # bytes per write
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


class RowStreams:
    """Reads rows of a table from both databases, and writes them to the new table.

    Rows are selected by a condition on `identifier`, which both databases evaluate; `between` builds one.

    Args:
        upstream: Connection to the catalog database.
        api: Connection to the API database.
        table: Name of the live table.
        source: Name of the catalog's table or view.
    """

    def __init__(self, upstream: Connection, api: Connection, table: str, source: str) -> None:
        self._upstream, self._api = upstream, api
        self._live, self._temp = (sql.Identifier("public", name) for name in (table, temp_name(table)))
        self._source, self._moderated = (
            sql.Identifier("public", name) for name in (source, f"api_deleted{table}")
        )

    def last_key(self, after: UUID | None, size: int) -> UUID | None:
        """Return the key that ends a range of `size` rows; None for the last range."""
        query = sql.SQL("select identifier from {} where {} order by identifier offset %s limit 1")
        found = self._upstream.execute(
            query.format(self._source, between(after, None)), [size - 1]
        ).fetchone()
        return found[0] if found else None

    def keys(self, condition: sql.Composable) -> list[UUID]:
        """Return the keys of the catalog's rows, in order."""
        query = sql.SQL("select identifier from {} where {} order by identifier")
        return [key for (key,) in self._upstream.execute(query.format(self._source, condition))]

    def moderated(self, condition: sql.Composable) -> set[bytes]:
        """Return the identifiers, as bytes, of records that moderators have deleted."""
        query = sql.SQL("select identifier from {} where {}").format(self._moderated, condition)
        return {key.bytes for (key,) in self._api.execute(query)}

    def own_columns(self, own: list[str], condition: sql.Composable) -> dict[bytes, bytes]:
        """Return the API's own columns of live rows by identifier, both in binary form."""
        query = sql.SQL("select identifier, {} from {} where {}").format(names(own), self._live, condition)
        return {row[6:22]: row[22:] for row in _copy_out(self._api, query)}

    def catalog_rows(self, shared: list[Column], condition: sql.Composable) -> Iterator[bytes]:
        """Yield the catalog's rows: the reason why a row does not fit, or null; its identifier; its columns.

        Args:
            shared: Columns to read, without the identifier.
            condition: Condition on the identifier.
        """
        values = [
            sql.SQL("{}::{}").format(sql.Identifier(c.upstream or c.name), sql.SQL(c.type)) for c in shared
        ]
        query = sql.SQL("select ({})::text, identifier, {} from {} where {}").format(
            _column_too_wide(shared), sql.SQL(", ").join(values), self._source, condition
        )
        return _copy_out(self._upstream, query)

    def write(self, columns: list[str], rows: Iterable[bytes]) -> None:
        """Append rows to the new table."""
        statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(self._temp, names(columns))
        with self._api.cursor() as cursor, cursor.copy(statement) as copy:
            pending, size = [_HEADER], 0
            for row in rows:
                pending.append(row)
                size += len(row)
                if size >= CHUNK:
                    copy.write(b"".join(pending))
                    pending, size = [], 0
            pending.append(_TRAILER)
            copy.write(b"".join(pending))


def between(after: UUID | None, last: UUID | None) -> sql.Composable:
    """Return the condition for identifiers above `after`, up to `last`; None for no bound."""
    bounds = [("identifier > {}", after), ("identifier <= {}", last)]
    conditions: list[sql.Composable] = [
        sql.SQL(condition).format(sql.Literal(key)) for condition, key in bounds if key is not None
    ]
    return sql.SQL(" and ").join(conditions) if conditions else sql.SQL("true")


def _column_too_wide(columns: list[Column]) -> sql.Composable:
    """Return the expression for the name of a column whose value is too long for the API's table."""
    tests = [
        sql.SQL("when octet_length({col}) > {width} and length({col}) > {width} then {name}").format(
            col=sql.Identifier(c.upstream or c.name), width=sql.Literal(c.widest), name=sql.Literal(c.name)
        )
        for c in columns
        if c.widest
    ]
    return sql.SQL("case {} end").format(sql.SQL(" ").join(tests)) if tests else sql.SQL("null::text")


def _copy_out(connection: Connection, query: sql.Composable) -> Iterator[bytes]:
    """Yield rows in the binary format of COPY, without its header and trailer."""
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy ({}) to stdout (format binary)").format(query)) as copy,
    ):
        rows = map(bytes, copy)
        first = next(rows, b"")[len(_HEADER) :]
        if len(first) > len(_TRAILER):
            yield first
        for row in rows:
            if len(row) > len(_TRAILER):
                yield row
