"""One part of the dataset: rows stream from the server's COPY as Arrow, and become Parquet files.

Memory does not depend on the number of rows: a few batches are held, and files grow on the local disk.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial, reduce
from itertools import count, cycle
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql
from psycopg.conninfo import make_conninfo
from upath import UPath

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import SETTINGS, settings_statement
from catalog.publishing.columns import SCHEMA_VERSION, columns, schema
from catalog.publishing.paths import data_file
from catalog.publishing.scratch import scratch_folder
from catalog.publishing.sensitive import DESCRIPTION, MATURE, Sensitive
from catalog.publishing.storage import new_attempt, store_file
from catalog.publishing.tags import parse_tags

FILE_ROWS = 1_000_000  # from which a file is full
GROUP_ROWS = 24_000  # from which a row group is written
LOCK_TIMEOUT = "10min"  # for a statement that moves rows; beyond, the other sessions' end is awaited
BATCH_BYTES = 12 << 20  # that the driver collects for a batch; smaller ones cost more processor time
_COMPRESSION = 1  # level of zstd; files are a twentieth larger than at 3, and written a fourth faster
_WRITE_ROWS = 16_384  # that are encoded at a time
# Columns whose values repeat: the others would fill a dictionary and then be written without one.
_REPEATING = (
    *(
        "provider",
        "source",
        "license",
        "license_version",
        "category",
        "filetype",
        "ingestion_type",
        "creator",
    ),
    *("tags.list.element.name", "tags.list.element.provider"),
)
# Columns by whose values queries skip row groups and pages: the others' values are texts of any kind.
_SELECTIVE = (
    *("identifier", "provider", "source", "license", "license_version", "category", "filetype"),
    *("filesize", "width", "height", "duration", "standardized_popularity"),
    *("created_on", "updated_on", "last_synced_with_source"),
)
_BATCH_OPTION = "adbc.postgresql.batch_size_hint_bytes"
_CONVERTERS = 2  # threads that convert batches
_WRITERS = 2  # threads that write files, so that the last row groups do not wait for each other
_STORED = 2  # files that are stored at a time; who has a third one waits
_MAX_HELD = 4  # row groups that may be held because their providers have few rows each

T = TypeVar("T")


class File(msgspec.Struct, frozen=True):
    """A data file.

    Attributes:
        path: Relative to the version's folder.
        media_type: Media type of its records.
        provider: Provider of its records.
        rows: Number of records.
        bytes: Size.
        sha256: Checksum, in hexadecimal.
        licenses: Source, license and version → number of records, as a list of four.
    """

    path: str
    media_type: MediaType
    provider: str | None
    rows: int
    bytes: int
    sha256: str
    licenses: list[tuple[str | None, str, str | None, int]] = []


class Written(NamedTuple):
    """A part that was written.

    Attributes:
        files: Its files.
        rows_read: Rows that meet the part's condition, with those that are left out.
    """

    files: list[File]
    rows_read: int


def connect(conninfo: str) -> Any:
    """Connect to the catalog for Arrow batches; the tables keep their pages until the connection is closed.

    While it is open, VACUUM FULL, CLUSTER and other statements that move rows to other pages wait. It has no
    snapshot yet, so it can be opened before one is taken, and `read_in` can follow.

    Args:
        conninfo: Connection string of libpq.

    Returns:
        An ADBC connection in a transaction.
    """
    from adbc_driver_postgresql import dbapi

    settings = settings_statement({**SETTINGS, "lock_timeout": LOCK_TIMEOUT})
    tables = sql.SQL(", ").join(sql.Identifier("public", media_type) for media_type in MEDIA_TYPES)
    connection = dbapi.connect(conninfo, autocommit=False)
    try:
        with connection.cursor() as cursor:
            cursor.execute(settings.as_string())
            cursor.fetchall()
            connection.commit()  # a transaction that has run a query cannot import a snapshot
            cursor.execute("set transaction isolation level repeatable read, read only")
            cursor.execute(sql.SQL("lock table {} in access share mode").format(tables).as_string())
    except BaseException:
        connection.close()
        raise
    return connection


def read_in(connection: Any, snapshot: str) -> None:
    """Let a connection read in a snapshot that another session has exported.

    Args:
        connection: Result of `connect`.
        snapshot: Name of the snapshot.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)).as_string())


def conninfo_of(connection: psycopg.Connection[Any]) -> str:
    """Return how to open another connection like this one, with its password."""
    given = {**connection.info.get_parameters(), "password": connection.info.password or None}
    return make_conninfo(**{name: value for name, value in given.items() if value is not None})


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


class Worker:
    """Threads that work while their caller prepares the next thing; one thread keeps the order.

    Args:
        most: Number of things that may be unfinished; at more, the caller waits.
        threads: Number of threads.
    """

    def __init__(self, most: int, threads: int = 1) -> None:
        self._threads, self._most = ThreadPoolExecutor(threads), most
        self._unfinished = deque[Future[Any]]()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do something, with one thread after what was submitted before.

        Raises:
            Exception: That of earlier work.
        """
        future = self._threads.submit(work)
        self._unfinished.append(future)
        if len(self._unfinished) > self._most:
            self._unfinished.popleft().result()
        return future

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class Pipeline:
    """Threads for successive row groups: some convert them, some compress and write, some store files.

    The caller receives rows meanwhile. Nearly all of it is C++ that holds no lock of Python's. Each file has
    one writer, which keeps the order of its row groups. The pipeline outlives a part, so that the next one is
    received while the last row groups of a part are converted and stored.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # Arrow's default keeps 60 MB more of what is freed, and takes a tenth more processor time.
        pa.set_memory_pool(pa.system_memory_pool())
        self.folder = self._stack.enter_context(scratch_folder())  # for files that are not complete
        self.storing = self._stack.enter_context(closing(Worker(_STORED, threads=_STORED)))
        self.writers = cycle(
            [self._stack.enter_context(closing(Worker(_CONVERTERS))) for _ in range(_WRITERS)]
        )
        self._converting = self._stack.enter_context(ThreadPoolExecutor(_CONVERTERS))
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)  # which `scratch_folder` explains

    def add(
        self, writer: Worker, convert: Callable[[], pa.Table], write: Callable[[pa.Table], None]
    ) -> Future[None]:
        """Convert and write a row group; wait while too many are unfinished.

        Args:
            writer: One of `writers`.
            convert: Returns the row group; runs beside others.
            write: Writes it; runs after that of the row group before.

        Raises:
            Exception: That of an earlier row group.
        """
        converted = self._converting.submit(convert)
        return writer.submit(lambda: write(converted.result()))


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

    def read(
        self, connection: Any, condition: sql.Composable, check: Callable[[], None] = lambda: None
    ) -> None:
        """Read the rows that meet a condition; their files are complete when `written` returns.

        Args:
            connection: Result of `connect`.
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
        return Written([one.result() for one in self._stored], self._read)

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


def parquet_writer(path: Path, of: pa.Schema, sorted_by: str | None = None) -> Any:
    """Return a writer of a Parquet file of the dataset.

    Args:
        path: Path of the file.
        of: Its schema.
        sorted_by: Column by which each row group is sorted, if any.
    """
    return pq.ParquetWriter(
        path,
        of.with_metadata({"schema_version": str(SCHEMA_VERSION)}),
        compression="zstd",
        compression_level=_COMPRESSION,
        use_dictionary=[path for path in _REPEATING if path.partition(".")[0] in of.names],
        write_batch_size=_WRITE_ROWS,
        write_statistics=[name for name in _SELECTIVE if name in of.names],
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(of.names.index(sorted_by))] if sorted_by else None,
    )
