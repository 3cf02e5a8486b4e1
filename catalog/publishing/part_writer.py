"""One part of the dataset: rows stream from the server's COPY as Arrow, and become Parquet files.

Memory does not depend on the number of rows: a few batches are held, and files grow on the local disk.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from functools import partial, reduce
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from upath import UPath

from catalog.core.media import MediaType
from catalog.publishing.columns import columns, schema
from catalog.publishing.files import File, Written
from catalog.publishing.parquet import parquet_writer
from catalog.publishing.paths import data_file
from catalog.publishing.pipeline import Pipeline, Worker
from catalog.publishing.sensitive import DESCRIPTION, MATURE, Sensitive
from catalog.publishing.storage import new_attempt, store_file
from catalog.publishing.tags import parse_tags

FILE_ROWS = 1_000_000  # from which a file is full
GROUP_ROWS = 24_000  # from which a row group is written
BATCH_BYTES = 12 << 20  # that the driver collects for a batch; smaller ones cost more processor time
_BATCH_OPTION = "adbc.postgresql.batch_size_hint_bytes"
_MAX_HELD = 4  # row groups that may be held because their providers have few rows each


def query(media_type: MediaType, condition: sql.Composable, *, sensitivity: bool = False) -> sql.Composed:
    """Return the query of a part.

    Args:
        media_type: The table.
        condition: Which rows.
        sensitivity: Read what tells sensitive records as well: the description, and whether their provider
            calls them mature.
    """
    wanted: list[sql.Composable] = [
        sql.SQL(column.expression).format(column=sql.Identifier(column.name))
        for column in columns(media_type)
    ]
    if sensitivity:
        wanted += [sql.SQL(DESCRIPTION), sql.SQL(MATURE)]
    return sql.SQL("select {} from {} where {}").format(
        sql.SQL(", ").join(wanted), sql.Identifier("public", media_type), condition
    )


class PartWriter:
    """Writes one part.

    Rows keep the order of the table: neighbours come from the same pull, so their values repeat, and
    statistics of times are narrow. Sorting would copy each row two more times.

    Args:
        pipeline: Converts and writes row groups.
        folder: The version's folder.
        media_type: Media type of the records.
        part: Number of the part.
        sensitive: Finds records to leave out; None to keep all.
        moderated: Identifiers of records that moderators want to be left out.
        file_rows: Rows from which a file is full.
        group_rows: Rows from which a row group is written.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        folder: UPath,
        media_type: MediaType,
        part: int,
        sensitive: Sensitive | None = None,
        moderated: Collection[str] = (),
        file_rows: int = FILE_ROWS,
        group_rows: int = GROUP_ROWS,
    ) -> None:
        self._pipeline, self._folder, self._media_type, self._part = pipeline, folder, media_type, part
        self._sensitive, self._file_rows, self._group_rows = sensitive, file_rows, group_rows
        self._moderated = frozenset(moderated)
        self._schema = schema(media_type)
        self._attempt = new_attempt()
        self._held: dict[str | None, list[pa.RecordBatch]] = {}
        self._open: dict[str | None, _OpenFile] = {}
        self._writers: dict[str | None, Worker] = {}
        self._unfinished: list[Future[None]] = []
        self._stored: list[Future[File]] = []
        self._numbers, self._read = count(), 0
        self._with_term: list[int] = []  # of each batch; several threads append

    def read(
        self, connection: Any, condition: sql.Composable, check: Callable[[], None] = lambda: None
    ) -> None:
        """Read the rows that meet a condition; their files are complete when `written` returns.

        Args:
            connection: Result of `arrow_session.connect`.
            condition: Which rows.
            check: Called for each batch; what it raises ends the part.
        """
        statement = query(self._media_type, condition, sensitivity=self._sensitive is not None)
        with connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{_BATCH_OPTION: str(BATCH_BYTES)})
            cursor.execute(statement.as_string())
            for batch in cursor.fetch_record_batch():
                check()
                self._read += batch.num_rows
                for provider in self._hold(batch):
                    self._add(provider)
        for provider in list(self._held):
            self._add(provider)
        self._unfinished += [
            writer.submit(partial(self._close, provider)) for provider, writer in self._writers.items()
        ]

    def written(self) -> Written:
        """Wait until all files are stored, and return what was written."""
        for one in self._unfinished:
            one.result()
        with_term = sum(self._with_term) if self._sensitive else None
        return Written([one.result() for one in self._stored], self._read, with_term)

    def _add(self, provider: str | None) -> None:
        """Write the held rows of a provider as a row group."""
        rows = self._held.pop(provider)
        if provider not in self._writers:
            self._writers[provider] = next(self._pipeline.writers)
        self._unfinished.append(
            self._pipeline.add(
                self._writers[provider],
                lambda: self._convert(rows),
                lambda table: self._write(provider, table),
            )
        )

    def _hold(self, batch: pa.RecordBatch) -> Iterator[str | None]:
        """Hold the rows of each provider; yield the providers whose rows are to be written."""
        # JSON is an extension of the type text, which not all functions know.
        plain = pa.RecordBatch.from_arrays(
            [getattr(column, "storage", column) for column in batch.columns], names=batch.schema.names
        )
        for provider, rows in _by_provider(plain, plain.column(self._schema.get_field_index("provider"))):
            self._held.setdefault(provider, []).append(rows)
            if self._number_held(provider) >= self._group_rows:
                yield provider
        while sum(map(self._number_held, self._held)) > _MAX_HELD * self._group_rows:
            yield max(self._held, key=self._number_held)

    def _number_held(self, provider: str | None) -> int:
        return sum(rows.num_rows for rows in self._held[provider])

    def _convert(self, batches: list[pa.RecordBatch]) -> pa.Table:
        """Return the rows of a row group with the types of the files, without sensitive ones."""
        return pa.Table.from_batches(map(self._convert_batch, batches))

    def _convert_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        of_columns = columns(self._media_type)
        rows = pa.RecordBatch.from_arrays(
            [
                (parse_tags(values) if column.kind == "tags" else values).cast(column.type)
                for column, values in zip(of_columns, batch.columns[: len(of_columns)], strict=True)
            ],
            schema=self._schema,
        )
        left_out = []
        if self._sensitive:
            description, mature = batch.columns[len(of_columns) :]
            found = self._sensitive(rows.column("title"), description, rows.column("tags"))
            self._with_term.append(pc.sum(found).as_py() or 0)
            left_out += [found, mature]
        if self._moderated:
            keys = rows.column("identifier").to_pylist()
            left_out.append(pa.array([key in self._moderated for key in keys], pa.bool_()))
        return rows.filter(pc.invert(reduce(pc.or_, left_out))) if left_out else rows

    def _write(self, provider: str | None, rows: pa.Table) -> None:
        """Write a row group to the provider's file, which may be full then."""
        if not rows.num_rows:
            return
        if provider not in self._open:
            self._open[provider] = _OpenFile(
                self._pipeline.folder, self._part, next(self._numbers), self._schema
            )
        file = self._open[provider]
        file.write(rows)
        if file.rows >= self._file_rows:
            self._close(provider)

    def _close(self, provider: str | None) -> None:
        """Complete the provider's file, if there is one, and let it be stored."""
        if (file := self._open.pop(provider, None)) is None:
            return
        file.writer.close()
        name = data_file(self._media_type, provider, self._part, file.number, self._attempt)

        def store() -> File:
            stored = store_file(file.path, self._folder, name)
            file.path.unlink()
            licenses = [(*key, number) for key, number in file.licenses.items()]
            return File(name, self._media_type, provider, file.rows, stored.bytes, stored.sha256, licenses)

        self._stored.append(self._pipeline.storing.submit(store))


class _OpenFile:
    """A local Parquet file that row groups are added to."""

    def __init__(self, folder: Path, part: int, number: int, of: pa.Schema) -> None:
        self.path, self.number, self.rows = folder / f"{part}-{number}.parquet", number, 0
        self.writer = parquet_writer(self.path, of)
        self.licenses = Counter[tuple[str | None, str, str | None]]()

    def write(self, table: pa.Table) -> None:
        """Write a row group, and count its records."""
        self.writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.rows += table.num_rows
        counted = table.group_by(["source", "license", "license_version"]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            key = (row["source"], row["license"], row["license_version"])
            self.licenses[key] += row["count_all"]


def _by_provider(
    batch: pa.RecordBatch, providers: pa.StringArray
) -> Iterator[tuple[str | None, pa.RecordBatch]]:
    """Yield each provider of a batch with its rows.

    Rows are copied: a slice would keep the whole batch in memory while it is held.
    """
    found = pc.unique(providers).to_pylist()
    if len(found) == 1:
        yield found[0], batch
        return
    for provider in found:
        of_provider = pc.is_null(providers) if provider is None else pc.equal(providers, provider)
        yield provider, batch.take(pc.indices_nonzero(of_provider))
