"""Loads the files of iNaturalist's open-data dump by SQL. Every step can be repeated and resumes.

Layout of the files: https://github.com/inaturalist/inaturalist-open-data/tree/documentation/Metadata
"""

import gzip
import logging
import shutil
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import IO, Any, LiteralString

import msgspec
from psycopg import sql
from upath import UPath

from catalog.core.columns import COLUMNS
from catalog.core.dates import utc
from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.session import Connection
from catalog.ingestion.completeness import accepting
from catalog.ingestion.parts import Counts, Manifest
from catalog.loading.copy import LineCopy, copy_exactly
from catalog.loading.delimited import Unreadable, bounded_lines, fault
from catalog.loading.load import Load, LoadReport, RunKey
from catalog.provider_api import PDM, License, license_from_pair
from catalog.providers.inaturalist.provider import FILES

log = logging.getLogger(__name__)
BATCH = 500_000  # photos
CHUNK = 1 << 20
LEAST = (
    0.5  # share of the last whole load's photos that a dump must hold, and of its photos that must be usable
)
SAMPLE = 10_000  # photos, to tell how many are usable
UNREADABLE = "unreadable row"
_HERE = Path(__file__).parent
_CODES = ("CC-BY-NC-SA", "CC-BY-NC", "CC-BY-NC-ND", "CC-BY", "CC-BY-SA", "CC-BY-ND", "CC0", "PD")
_NEEDED = {
    "photos": ("photo_id", "observation_uuid", "observer_id", "extension", "license", "width", "height"),
    "observations": ("observation_uuid", "taxon_id"),
    "taxa": ("taxon_id", "ancestry", "name"),
    "observers": ("observer_id", "login", "name"),
}
_NAMES = {
    "vernacular_names": ("VernacularName.tsv", ("taxonID", "name", "country")),
    "scientific_names": ("NameUsage.tsv", ("ID", "scientificName")),
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


def is_loaded(connection: Connection, token: str) -> bool:
    """Was this very dump the last one that was loaded whole?"""
    with connection.transaction():
        return bool(
            connection.execute(
                "select 1 from source_dump where provider = 'inaturalist' and token = %s", [token]
            ).fetchone()
        )


def prepare(connection: Connection, token: str) -> None:
    """Empty tables for the dump; those of the same dump, from an earlier try, stay as they are."""
    with connection.transaction():
        if connection.execute("select to_regclass('inaturalist.dump')").fetchone() != (None,):
            if connection.execute("select token from inaturalist.dump").fetchone() == (token,):
                return
            connection.execute("drop schema inaturalist cascade")
        connection.execute(_statement("tables.sql"))
        connection.execute("insert into inaturalist.dump values (%s)", [token])
        rows = [(code, found.slug, found.version, found.url) for code in _CODES if (found := _license(code))]
        connection.cursor().executemany("insert into inaturalist.licenses values (%s, %s, %s, %s)", rows)


def _license(code: str) -> License | None:
    return (
        PDM
        if code == "PD"
        else license_from_pair(code.lower().removeprefix("cc-"), "1.0" if code == "CC0" else "4.0")
    )


def load_file(connection: Connection, root: UPath, name: str) -> int:
    """One file of the dump into its table. A file that an earlier attempt has loaded is not read again.

    Lines that cannot be read, of any kind, are left out and counted.

    Returns:
        The number of rows.

    Raises:
        Fatal: The file lacks a column, or more than 1 % of its lines cannot be read.
        Retry: The file is damaged or ends too early.
    """
    path = root / f"{name}.csv.gz"
    with connection.transaction():
        if (known := _loaded(connection, name)) is not None:
            return known
        with _damage(path.name):
            rows, unreadable = _copy(connection, path, name)
        connection.execute(_INDEXES[name])
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("inaturalist", name)))
        _done(connection, name, rows, unreadable)
    log.info("%s: %s rows, %s unreadable", path.name, f"{rows:,}", f"{unreadable:,}")
    return rows


def _copy(connection: Connection, path: UPath, name: str) -> tuple[int, int]:
    """Return the numbers of rows and of lines left out. Unknown columns are kept as text."""
    with _unpacked(path) as (columns, _):
        pass
    if missing := set(_NEEDED[name]) - set(columns):
        raise _missing(path.name, missing, columns)
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
    log.warning("%s: %s; reading it again without the lines that cannot be read.", path.name, problem)
    seen = Unreadable(path.name)
    with _unpacked(path) as (_, file):
        lines = LineCopy(connection, copy, fault=partial(fault, columns=len(columns)), refuse=seen.add)
        rows = lines.run(seen.counted(bounded_lines(file)))
    seen.check()
    return rows, seen.number


class _Chunks:
    """The rest of a file in pieces; counts its lines, once all have been read."""

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
    """The names of the columns, and the file behind them."""
    with path.open("rb") as packed, gzip.open(packed, "rb") as file:
        yield _header(path.name, file), file


def _header(name: str, file: BufferedIOBase) -> list[str]:
    line = file.readline(CHUNK)
    try:
        return line.decode("utf-8-sig").rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        raise Fatal(f"{name} has no header: {line[:200]!r}") from None


def _missing(name: str, missing: set[str], columns: Sequence[str]) -> Fatal:
    return Fatal(f"{name} has no column {', '.join(sorted(missing))}; it has {', '.join(columns)}.")


@contextmanager
def _damage(name: str) -> Iterator[None]:
    """A packed file that ends too early, or whose checksum is wrong, is read again later."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise Retry(f"{name} is damaged, or did not come whole: {error}") from None


def load_names(connection: Connection, archive: UPath | None) -> dict[str, int]:
    """Common names from the Catalogue of Life's archive (ColDP, a ZIP). Without an archive there are none.

    Only the columns needed are read, by the names in the headers: the export's columns change from time to
    time.

    Returns:
        Rows by table.

    Raises:
        Fatal: It is no such archive, or more than 1 % of the lines of a file cannot be read.
        Retry: The archive is damaged.
    """
    with connection.transaction():
        if _loaded(connection, "names") is not None or archive is None:
            return {}
        found, unreadable = {}, 0
        with _damage(archive.name), _local(archive) as packed, zipfile.ZipFile(packed) as files:
            for table in _NAMES:
                found[table], left_out = _copy_names(connection, files, table)
                unreadable += left_out
        if not all(found.values()):
            raise Fatal(
                f"{archive.name} holds no names: {found}; is it the Catalogue of Life in the format ColDP?"
            )
        _done(connection, "names", sum(found.values()), unreadable)
    log.info("Catalogue of Life: %s, %s unreadable", found, f"{unreadable:,}")
    return found


@contextmanager
def _local(path: UPath) -> Iterator[IO[bytes]]:
    """The file, on this machine: a ZIP is read from its end."""
    with path.open("rb") as source:
        if path.protocol in ("", "file", "local"):
            yield source
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy, CHUNK)
            yield copy


def _copy_names(connection: Connection, files: zipfile.ZipFile, table: str) -> tuple[int, int]:
    """(rows, lines left out)."""
    member, needed = _NAMES[table]
    try:
        opened = files.open(member)
    except KeyError:
        raise Fatal(
            f"the archive has no {member}; is it the Catalogue of Life in the format ColDP?"
        ) from None
    statement = sql.SQL("copy {} from stdin").format(sql.Identifier("inaturalist", table))
    seen = Unreadable(member)
    with opened as raw, BufferedReader(raw, CHUNK) as file, connection.cursor() as cursor:  # type: ignore[type-var]
        header = [name.removeprefix("col:") for name in _header(member, file)]
        if missing := set(needed) - set(header):
            raise _missing(member, missing, header)
        places = [header.index(column) for column in needed]
        with cursor.copy(statement) as copy:
            for line in seen.counted(bounded_lines(file)):
                if reason := fault(line, len(header)):
                    seen.add(reason, line)
                    continue
                row = line.decode().rstrip("\r\n").split("\t")
                copy.write_row([row[place] or None for place in places])
        seen.check()
        return cursor.rowcount, seen.number


def name_taxa(connection: Connection) -> int:
    """Title and tags of each taxon; their number. The files and the names are there."""
    with connection.transaction():
        if (known := _loaded(connection, "taxa_named")) is not None:
            return known
        connection.execute("set local work_mem = '512MB'")
        connection.execute(_statement("taxa.sql"))
        taxa = connection.execute("select count(*) from inaturalist.taxa_named").fetchone()
        assert taxa
        _done(connection, "taxa_named", taxa[0], 0)
        return int(taxa[0])


class Batch(msgspec.Struct, frozen=True):
    """Photo identifiers from `first` up to, but without, `end`."""

    number: int
    first: int
    end: int


def batches(connection: Connection, size: int = BATCH) -> list[Batch]:
    """Return ranges of photo ids of about `size` rows each, the same for each attempt."""
    with connection.transaction():
        found = connection.execute(
            """
            select distinct photo_id
              from (select photo_id, row_number() over (order by photo_id) as place
                      from inaturalist.photos) numbered
             where place %% %(size)s = 1 or %(size)s = 1
            """,
            {"size": size},
        ).fetchall()
        last = connection.execute("select max(photo_id) from inaturalist.photos").fetchone()
    firsts = sorted(first for (first,) in found)
    ends = [*firsts[1:], last[0] + 1] if last and last[0] is not None else []
    return [Batch(number, first, end) for number, (first, end) in enumerate(zip(firsts, ends, strict=True))]


def check(
    connection: Connection,
    root: UPath,
    prepared: str,
    run: tuple[str, str],
    *,
    replayed: bool = False,
    accept: bool = False,
) -> list[str]:
    """Look whether the dump is whole, now that its files are in tables and taxa are named.

    Args:
        connection: To the catalog database.
        root: Where the dump lies.
        prepared: Token of the dump in the tables.
        run: Id of DAG and run.
        replayed: The dump is a recording; then it is compared with recordings, otherwise with real dumps.
        accept: A person says that what is missing is missing rightly.

    Returns:
        What is missing, in sentences with numbers; [] for a whole dump.

    Raises:
        Fatal: Something is missing, and nobody has accepted it; or the dump's files have changed while they
            were read.
    """
    if token(root) != prepared:
        raise Fatal(f"the dump at {root} has changed while it was read; clear all tasks of the run.")
    with connection.transaction():
        found = [text for text in (_shrunk(connection, run, replayed), _unusable(connection)) if text]
    if found and not accept:
        raise Fatal(f"the dump is NOT WHOLE, and nothing of it was loaded: {'; '.join(found)}. {accepting()}")
    return found


def _shrunk(connection: Connection, run: tuple[str, str], replayed: bool) -> str | None:
    """Far fewer photos than the last whole load of this DAG had?"""
    last = connection.execute(
        """
        select sum(fetched)::bigint, max(finished_on) from ingestion_report
         where dag_id = %s and run_id <> %s and replayed = %s
         group by run_id, manifest_token having bool_and(complete and whole)
         order by max(finished_on) desc limit 1
        """,
        [*run, replayed],
    ).fetchone()
    photos = _one(connection, "select count(*) from inaturalist.photos")
    if last is None or photos >= LEAST * last[0]:
        return None
    return (
        f"it holds {photos:,} photos, and the last whole one, "
        f"loaded on {utc(last[1]):%Y-%m-%d}, held {last[0]:,}"
    )


def _unusable(connection: Connection) -> str | None:
    """Return whether most photos lack an observation, taxon or observer, because a file is cut or wrong."""
    step = max(1, _one(connection, "select count(*) from inaturalist.photos") // SAMPLE)
    found = connection.execute(_statement("usable.sql"), {"step": step}).fetchone()
    assert found
    photos, usable = found
    if usable >= LEAST * photos:
        return None
    return f"only {usable:,} of {photos:,} photos looked at have an observation, a taxon and an observer"


def _one(connection: Connection, query: LiteralString) -> int:
    row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


def load_batches(
    connection: Connection,
    token: str,
    run: tuple[str, str],
    *,
    size: int = BATCH,
    include_deleted: bool = False,
    replayed: bool = False,
    shortfalls: Sequence[str] = (),
    progress: Callable[[Batch, int, LoadReport], None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Bring all photos into the catalog, batch by batch, each in its own transaction with its report.

    The reports are those of a whole load once the last batch is in.

    Args:
        connection: To the catalog database.
        token: Of the dump in the tables.
        run: Id of DAG and run; a batch that this run has committed is not touched again.
        size: Photos of a batch.
        include_deleted: Bring back photos that were deleted from the catalog.
        replayed: The dump is a recording.
        shortfalls: What a person accepted as missing.
        progress: Called after each batch with it, the number of all, and its report.
        should_stop: Asked after each batch.

    Raises:
        Interrupted: Asked to stop; the next attempt goes on at the next batch.
    """
    with connection.transaction():
        reports = connection.execute(
            "select day_shift from ingestion_report where (dag_id, run_id, manifest_token) = (%s, %s, %s)",
            [*run, token],
        ).fetchall()
    done = {number for (number,) in reports}
    wanted = batches(connection, size)
    load = _BatchLoad(connection, token, run, include_deleted, replayed, list(shortfalls))
    for batch in wanted:
        if batch.number in done:
            continue
        progress(batch, len(wanted), load(batch))
        if should_stop():
            raise Interrupted(
                f"asked to stop after batch {batch.number + 1} of {len(wanted)}; the next try goes on there."
            )
    with connection.transaction():
        connection.execute(
            "update ingestion_report set whole = true where (dag_id, run_id, manifest_token) = (%s, %s, %s)",
            [*run, token],
        )


class _BatchLoad(msgspec.Struct):
    """Loads batches of one dump for one run."""

    connection: Any
    token: str
    run: tuple[str, str]
    include_deleted: bool
    replayed: bool
    shortfalls: list[str]

    def __call__(self, batch: Batch) -> LoadReport:
        began = time.monotonic()
        counts = self._select(batch)
        manifest = Manifest(
            provider="inaturalist",
            run_id=self.run[1],
            window=None,
            replayed=self.replayed,
            started=datetime.now(UTC),
            token=self.token,
            pages=batch.number + 1,
            seconds=round(time.monotonic() - began, 3),
            counts={"image": counts},
            complete=True,
            whole=False,  # not before the last batch is in
            shortfalls=self.shortfalls,
            accepted=bool(self.shortfalls),
        )
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS["image"]))
        rows = sql.SQL(
            "select {} from inaturalist_batch where reason is null order by foreign_identifier"
        ).format(columns)
        return Load(
            self.connection,
            "image",
            "inaturalist",
            rows,
            manifest,
            RunKey(*self.run, batch.number),
            include_deleted=self.include_deleted,
            progress=log.debug,
        ).run()

    def _select(self, batch: Batch) -> Counts:
        """The batch's rows into a temporary table; what became of its photos."""
        with self.connection.transaction():
            self.connection.execute("set local work_mem = '256MB'")
            self.connection.execute("drop table if exists inaturalist_batch")
            self.connection.execute(_statement("batch.sql"), {"first": batch.first, "end": batch.end})
            found = self.connection.execute(
                "select reason, count(*), count(*) filter (where no_width), count(*) filter (where no_height)"
                "  from inaturalist_batch group by 1"
            ).fetchall()
            files = self.connection.execute("select name, unreadable from inaturalist.loaded").fetchall()
        counted = {reason: rows for reason, rows, _, _ in found}
        cleaned: Counter[str] = Counter()
        for reason, _, no_width, no_height in found:
            if reason is None:
                cleaned += Counter({"width is not positive": no_width, "height is not positive": no_height})
        unreadable = Counter(dict(files)) if batch.number == 0 else Counter()
        photos = unreadable.pop("photos", 0)
        cleaned += Counter({f"{UNREADABLE} of {name}": number for name, number in unreadable.items()})
        written = counted.pop(None, 0)
        fetched = written + sum(counted.values()) + photos
        rejected = {UNREADABLE: photos} if photos else {}
        return Counts(fetched, written, counted, rejected, dict(cleaned))


def finish(connection: Connection, token: str, *, drop: bool) -> None:
    """Note that the dump is in the catalog, and drop its tables."""
    with connection.transaction():
        connection.execute(
            "insert into source_dump values ('inaturalist', %s) "
            "on conflict (provider) do update set token = excluded.token, loaded_on = now()",
            [token],
        )
        if drop:
            connection.execute("drop schema if exists inaturalist cascade")


def _loaded(connection: Connection, name: str) -> int | None:
    """Return the rows that an earlier attempt has loaded, and lock the name until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"inaturalist {name}"])
    row = connection.execute("select rows from inaturalist.loaded where name = %s", [name]).fetchone()
    return row[0] if row else None


def _done(connection: Connection, name: str, rows: int, unreadable: int) -> None:
    connection.execute("insert into inaturalist.loaded values (%s, %s, %s)", [name, rows, unreadable])


def _statement(file: str) -> sql.SQL:
    return sql.SQL((_HERE / file).read_text(encoding="utf-8"))
