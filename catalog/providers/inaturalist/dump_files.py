"""Copies the packed files of the dump into tables, each in one transaction."""

import gzip
import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from io import BufferedIOBase
from typing import LiteralString

from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection
from catalog.loading.copy import LineCopy, copy_exactly
from catalog.loading.delimited import Unreadable, bounded_lines, fault
from catalog.providers.inaturalist.progress import note_loaded, rows_loaded
from catalog.providers.inaturalist.provider import FILES

log = logging.getLogger(__name__)
CHUNK = 1 << 20  # bytes
_NEEDED = {
    "photos": ("photo_id", "observation_uuid", "observer_id", "extension", "license", "width", "height"),
    "observations": ("observation_uuid", "taxon_id"),
    "taxa": ("taxon_id", "ancestry", "name"),
    "observers": ("observer_id", "login", "name"),
}
_INDEXES: dict[str, LiteralString] = {
    "photos": "create index on inaturalist.photos (photo_id)",
    "observations": "create index on inaturalist.observations (observation_uuid)",
    "taxa": "create index on inaturalist.taxa (taxon_id)",
    "observers": "create index on inaturalist.observers (observer_id)",
}


def token(root: UPath) -> str:
    """Return the identity of a dump: names, sizes and tags of its files. Raises Fatal if one is missing."""
    facts = []
    for name in FILES:
        path = root / f"{name}.csv.gz"
        try:
            info = path.fs.info(path.path)
        except FileNotFoundError:
            raise Fatal(
                f"there is no {path}; the dump should hold {', '.join(f'{n}.csv.gz' for n in FILES)}."
            ) from None
        facts.append(
            f"{name} {info['size']} {info.get('ETag') or info.get('LastModified') or info.get('mtime')}"
        )
    return sha256("\n".join(facts).encode()).hexdigest()[:32]


def load_file(connection: Connection, root: UPath, name: str, token: str) -> int:
    """Load a file of the dump into its table, unless an earlier attempt has loaded it.

    Malformed lines are skipped and counted.

    Args:
        connection: Connection to the catalog database.
        root: The folder of the dump.
        name: One of `FILES`.
        token: Token of the dump that the run has prepared.

    Returns:
        The number of rows.

    Raises:
        Fatal: The file lacks a column, more than 1 % of its lines cannot be read, or the tables are no longer
            those of this dump.
        Retry: The file is damaged or ends too early.
    """
    path = root / f"{name}.csv.gz"
    with connection.transaction():
        if (known := rows_loaded(connection, token, name)) is not None:
            return known
        with damage(path.name):
            rows, unreadable = _copy(connection, path, name)
        connection.execute(_INDEXES[name])
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("inaturalist", name)))
        note_loaded(connection, name, rows, unreadable)
    log.info("%s: %s rows, %s unreadable", path.name, f"{rows:,}", f"{unreadable:,}")
    return rows


def _copy(connection: Connection, path: UPath, name: str) -> tuple[int, int]:
    """Copy a file; return the numbers of rows and of skipped lines. Unknown columns are kept as text."""
    with _unpacked(path) as (columns, _):
        pass
    if missing := set(_NEEDED[name]) - set(columns):
        raise missing_columns(path.name, missing, columns)
    table = sql.Identifier("inaturalist", name)
    for column in columns:
        added = sql.SQL("alter table {} add column if not exists {} text")
        connection.execute(added.format(table, sql.Identifier(column)))
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    copy = sql.SQL("copy {} ({}) from stdin (format csv, delimiter E'\\t', quote E'\\b')").format(
        table, names
    )
    with _unpacked(path) as (_, file):
        chunks = _Chunks(file)
        problem = copy_exactly(connection, copy, chunks, lambda: chunks.lines)
    if problem is None:
        return chunks.lines, 0
    log.warning("%s: %s; reading it again without malformed lines.", path.name, problem)
    seen = Unreadable(path.name)
    with _unpacked(path) as (_, file):
        lines = LineCopy(connection, copy, fault=partial(fault, columns=len(columns)), refuse=seen.add)
        rows = lines.run(seen.counted(bounded_lines(file)))
    seen.check()
    return rows, seen.number


class _Chunks:
    """Iterates over the rest of a file in chunks and counts its lines."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file, self.lines = file, 0

    def __iter__(self) -> Iterator[bytes]:
        last = b""
        while chunk := self._file.read(CHUNK):
            self.lines += chunk.count(b"\n")
            last = chunk
            yield chunk
        self.lines += bool(last) and not last.endswith(b"\n")


@contextmanager
def _unpacked(path: UPath) -> Iterator[tuple[list[str], BufferedIOBase]]:
    """Open a packed file; yield the names of its columns and the file positioned after the header."""
    with path.open("rb") as packed, gzip.open(packed, "rb") as file:
        yield header(path.name, file), file


def header(name: str, file: BufferedIOBase) -> list[str]:
    """Read the names of the columns of a file. Raises Fatal if its first line is not UTF-8."""
    line = file.readline(CHUNK)
    try:
        return line.decode("utf-8-sig").rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        raise Fatal(f"{name} has no header: {line[:200]!r}") from None


def missing_columns(name: str, missing: set[str], columns: Sequence[str]) -> Fatal:
    """Return the error for a file without some of its columns."""
    return Fatal(f"{name} has no column {', '.join(sorted(missing))}; it has {', '.join(columns)}.")


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Raise Retry if a packed file is truncated or its checksum is wrong."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise Retry(f"{name} is damaged, or was not received completely: {error}") from None
