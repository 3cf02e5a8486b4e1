"""Rows of a copy as streams in the binary format of COPY: which rows, how they are read and written."""

from collections.abc import Generator, Iterable
from uuid import UUID

from psycopg import sql

from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import Column, catalog_name, names, temp_name
from catalog.moderation.tables import moderated_name

CHUNK = 1 << 18  # bytes per write
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


class RowStreams:
    """Reads rows of a table from both databases, and writes them to the new table.

    Args:
        upstream: Connection to the catalog database.
        api: Connection to the API database.
        table: Name of the live table.
    """

    def __init__(self, upstream: Connection, api: Connection, table: str) -> None:
        self._upstream, self._api = upstream, api
        self._temp = sql.Identifier("public", temp_name(table))
        self._source, self._moderated = (
            sql.Identifier("public", name) for name in (catalog_name(table), moderated_name("deleted", table))
        )

    def keys(self, condition: sql.Composable) -> list[UUID]:
        """Return the keys of the catalog's rows, in order."""
        query = sql.SQL("select identifier from {} where {} order by identifier")
        return [key for (key,) in self._upstream.execute(query.format(self._source, condition))]

    def moderated(self, keys: list[bytes]) -> set[bytes]:
        """Return those of the identifiers, as bytes, that moderators have deleted."""
        query = sql.SQL("select identifier from {} where {}").format(self._moderated, _among(keys))
        return {key.bytes for (key,) in self._api.execute(query)}

    def own_columns(self, own: list[str], keys: list[bytes], table: str) -> dict[bytes, bytes]:
        """Return the API's own columns of rows by identifier, both in binary form.

        Args:
            own: Names of the columns.
            keys: Identifiers, as bytes.
            table: Table with these columns: the live one, or the extract of `record_own_columns`.
        """
        query = sql.SQL("select identifier, {} from {} where {}").format(
            names(own), sql.Identifier("public", table), _among(keys)
        )
        return {row[6:22]: row[22:] for row in _copy_out(self._api, query)}

    def catalog_rows(self, shared: list[Column], condition: sql.Composable) -> Generator[bytes]:
        """Yield the catalog's rows: the reason why a row does not fit, or null; its identifier; its columns.

        Args:
            shared: Columns to read, without the identifier.
            condition: Condition of the rows.
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


def _among(keys: list[bytes]) -> sql.Composable:
    """Return the condition that an identifier is among those."""
    return sql.SQL("identifier = any({}::uuid[])").format(
        sql.Literal("{" + ",".join(map(bytes.hex, keys)) + "}")
    )


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


def _copy_out(connection: Connection, query: sql.Composable) -> Generator[bytes]:
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
