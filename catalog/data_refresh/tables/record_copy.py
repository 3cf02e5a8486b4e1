"""Copy of records of a table of the catalog to `temp_import_<table>` of the API database.

Columns that only the API has, such as the row id, come from the live table; new records get them from the
table's defaults. Records that the API's table cannot store are found and left out.
"""

from contextlib import closing
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.loss_limits import allowed_rejects
from catalog.core.queries import execute
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import (
    Column,
    catalog_name,
    changes_name,
    own_name,
    progress_name,
    ranges_name,
    temp_name,
)
from catalog.data_refresh.tables.merge import Merge, read_ahead
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.rejects import REFUSED, RejectedRecords, reason_of
from catalog.data_refresh.tables.row_streams import RowStreams
from catalog.data_refresh.tables.sequences import check_defaults
from catalog.database.estimates import analyzed_rows


class RecordCopy:
    """Copies records of one table.

    Args:
        upstream: Connection to the catalog database, in autocommit.
        api: Connection to the API database, in autocommit, for exclusive use.
        table: Name of the live table.
    """

    def __init__(self, upstream: Connection, api: Connection, table: str) -> None:
        self._upstream, self._api, self._table = upstream, api, table
        self._source = catalog_name(table)
        self._streams = RowStreams(upstream, api, table)
        self._names: dict[str, sql.Composable] = {
            "live": sql.Identifier("public", table),
            "temp": sql.Identifier("public", temp_name(table)),
            "progress": sql.Identifier("public", progress_name(table)),
            "ranges": sql.Identifier("public", ranges_name(table)),
            "own": sql.Identifier("public", own_name(table)),
            "changes": sql.Identifier("public", changes_name(table)),
            "source": sql.Identifier("public", self._source),
        }

    def _copy_within(self, columns: list[Column], within: sql.Composable, own_table: str) -> Merge:
        """Copy records.

        Args:
            columns: Columns of the new table.
            within: Condition of the catalog's rows.
            own_table: Table with the API's own columns.
        """
        own = ["id", *(c.name for c in columns if c.upstream is None)]
        shared = [c for c in columns if c.upstream is not None and c.name != "identifier"]
        taken, streams = [c.name for c in shared], self._streams
        merge = Merge(len(own) + len(shared) + 1, len(shared) + 1)
        with (
            closing(streams.catalog_rows(shared, within)) as rows,
            closing(read_ahead(merge.batches(rows))) as batches,
        ):
            for batch in batches:
                keys = [key for key, _ in batch]
                known = streams.own_columns(own, keys, own_table)
                old, new = merge.join(batch, known, streams.moderated(keys))
                if old:
                    streams.write(["identifier", *own, *taken], old)
                if new:
                    streams.write(["identifier", *taken], new)
        return merge

    def _copy_keys(
        self,
        columns: list[Column],
        keys: list[UUID],
        own_table: str,
        copied: TableProgress,
        rejects: RejectedRecords,
    ) -> list[Merge]:
        """Copy the records of these keys without those that a database rejects, which are found by bisection.

        Args:
            columns: Columns of the new table.
            keys: Identifiers.
            own_table: Table with the API's own columns.
            copied: Progress of the copy, without these records.
            rejects: Rejected records; more are added.

        Raises:
            Fatal: Too many records are rejected.
        """
        estimate = analyzed_rows(self._upstream, self._source) or 0
        allowed = allowed_rejects(max(estimate, copied.rows + len(keys)))
        merges, parts = [], [keys]
        while parts:
            part = parts.pop()
            condition = sql.SQL("identifier = any({})").format(sql.Literal(part))
            try:
                with self._api.transaction(), self._upstream.transaction():
                    merges.append(self._copy_within(columns, condition, own_table))
            except REFUSED as error:
                if len(part) <= 1:
                    self._check_table(part[0])
                    rejects.add(str(part[0]), self._reason(columns, part[0], error))
                    rejects.check(copied, allowed)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
        return merges

    def _count(self, copied: TableProgress, merge: Merge, rejects: RejectedRecords) -> None:
        copied.rows += merge.copied
        copied.new += merge.found_new
        copied.deleted += merge.deleted
        for reason, identifier in merge.too_wide:
            rejects.add(identifier, reason)

    def _check_table(self, key: UUID) -> None:
        """Raise Fatal if the table cannot store any new record, so the record itself is not at fault."""
        query = sql.SQL("select 1 from {} where identifier = %s").format(self._names["live"])
        if not self._api.execute(query, [key]).fetchone():
            check_defaults(self._api, self._table)

    def _reason(self, columns: list[Column], key: UUID, error: psycopg.Error) -> str:
        """Return why a record is rejected. It names the column even if the server's error does not."""
        for column in columns:
            if column.upstream:
                query = sql.SQL("select {}::{} from {} where identifier = %s").format(
                    sql.Identifier(column.upstream), sql.SQL(column.type), self._names["source"]
                )
                try:
                    with self._upstream.transaction():
                        self._upstream.execute(query, [key])
                except REFUSED as named:
                    return reason_of(named, column.name)
        return reason_of(error)

    def _do(self, statement: LiteralString, **parts: sql.Composable) -> None:
        execute(self._api, statement, **self._names, **parts)
