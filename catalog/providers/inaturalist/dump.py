"""Loads the files of iNaturalist's open-data dump by SQL; every step can be repeated and resumed.

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
from typing import IO, LiteralString

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
# Share of the last whole load's photos that a dump must hold, and share of its photos that must be usable.
MIN_SHARE = 0.5
SAMPLE = 10_000  # photos, to estimate how many are usable
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
    """Return whether this dump is the one that was loaded last."""
    with connection.transaction():
        return bool(
            connection.execute(
                "select 1 from source_dump where provider = 'inaturalist' and token = %s", [token]
            ).fetchone()
        )


def prepare(connection: Connection, token: str) -> None:
    """Create empty tables for the dump; keep those of the same dump from an earlier attempt."""
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
    """Load a file of the dump into its table, unless an earlier attempt has loaded it.

    Malformed lines are skipped and counted.

    Args:
        connection: To the catalog database.
        root: The folder of the dump.
        name: One of `FILES`.

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
    """Copy a file; return the numbers of rows and of skipped lines. Unknown columns are kept as text."""
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
    """Raise Retry if a packed file is truncated or its checksum is wrong."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise Retry(f"{name} is damaged, or did not come whole: {error}") from None


def load_names(connection: Connection, archive: UPath | None) -> dict[str, int]:
    """Load common names from the Catalogue of Life's archive (a ZIP in the format ColDP).

    Columns are selected by name, because the columns of the export change from time to time.

    Args:
        connection: To the catalog database.
        archive: The archive; None loads no names.

    Returns:
        Table → number of rows.

    Raises:
        Fatal: The file is not such an archive, or more than 1 % of the lines of a member are malformed.
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
    """Open a local copy of a file, because a ZIP is read from its end."""
    with path.open("rb") as source:
        if path.protocol in ("", "file", "local"):
            yield source
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy, CHUNK)
            yield copy


def _copy_names(connection: Connection, files: zipfile.ZipFile, table: str) -> tuple[int, int]:
    """Copy a member of the archive; return the numbers of rows and of skipped lines."""
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
    """Compute title and tags of each taxon, after files and names were loaded; return the number of taxa."""
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
    """The photo identifiers [first, end)."""

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
    """Check whether the dump is whole, after its files were loaded and taxa were named.

    Args:
        connection: To the catalog database.
        root: The folder of the dump.
        prepared: Token of the dump in the tables.
        run: Ids of DAG and run.
        replayed: The dump is a recording; it is compared with recordings instead of real dumps.
        accept: Accept a shortfall.

    Returns:
        Descriptions of what is missing; empty for a whole dump.

    Raises:
        Fatal: Something is missing and not accepted, or the files changed while they were read.
    """
    if token(root) != prepared:
        raise Fatal(f"the dump at {root} has changed while it was read; clear all tasks of the run.")
    with connection.transaction():
        found = [text for text in (_shrunk(connection, run, replayed), _unusable(connection)) if text]
    if found and not accept:
        raise Fatal(f"the dump is NOT WHOLE, and nothing of it was loaded: {'; '.join(found)}. {accepting()}")
    return found


def _shrunk(connection: Connection, run: tuple[str, str], replayed: bool) -> str | None:
    """Describe a dump with far fewer photos than this DAG's last whole load; return None otherwise."""
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
    if last is None or photos >= MIN_SHARE * last[0]:
        return None
    return (
        f"it holds {photos:,} photos, and the last whole one, "
        f"loaded on {utc(last[1]):%Y-%m-%d}, held {last[0]:,}"
    )


def _unusable(connection: Connection) -> str | None:
    """Describe a dump most of whose photos lack an observation, taxon or observer; return None otherwise."""
    step = max(1, _one(connection, "select count(*) from inaturalist.photos") // SAMPLE)
    found = connection.execute(_statement("usable.sql"), {"step": step}).fetchone()
    assert found
    photos, usable = found
    if usable >= MIN_SHARE * photos:
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
    """Load all photos into the catalog; each batch has its own transaction and report.

    The reports are marked as whole after the last batch.

    Args:
        connection: To the catalog database.
        token: Token of the dump in the tables.
        run: Ids of DAG and run; batches that this run has committed are skipped.
        size: Number of photos per batch.
        include_deleted: Restore photos that were deleted from the catalog.
        replayed: The dump is a recording.
        shortfalls: Accepted shortfalls.
        progress: Called after each batch with the batch, the number of batches, and its report.
        should_stop: Called after each batch; True raises Interrupted.

    Raises:
        Interrupted: `should_stop` returned True; the next attempt resumes at the next batch.
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
                f"asked to stop after batch {batch.number + 1} of {len(wanted)}; the next attempt "
                "resumes there."
            )
    with connection.transaction():
        connection.execute(
            "update ingestion_report set whole = true where (dag_id, run_id, manifest_token) = (%s, %s, %s)",
            [*run, token],
        )


class _BatchLoad(msgspec.Struct):
    """Loads batches of one dump for one run."""

    connection: Connection
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
            whole=False,  # set after the last batch
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
        """Select the rows of a batch into a temporary table and count its photos."""
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
    """Record that the dump was loaded; drop its tables if `drop` is true."""
    with connection.transaction():
        connection.execute(
            "insert into source_dump values ('inaturalist', %s) "
            "on conflict (provider) do update set token = excluded.token, loaded_on = now()",
            [token],
        )
        if drop:
            connection.execute("drop schema if exists inaturalist cascade")


def _loaded(connection: Connection, name: str) -> int | None:
    """Return the number of rows that an earlier attempt loaded; lock the name until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"inaturalist {name}"])
    row = connection.execute("select rows from inaturalist.loaded where name = %s", [name]).fetchone()
    return row[0] if row else None


def _done(connection: Connection, name: str, rows: int, unreadable: int) -> None:
    connection.execute("insert into inaturalist.loaded values (%s, %s, %s)", [name, rows, unreadable])


def _statement(file: str) -> sql.SQL:
    return sql.SQL((_HERE / file).read_text(encoding="utf-8"))
