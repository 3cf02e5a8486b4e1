"""From the files of iNaturalist's open-data dump into the catalog, by SQL. Every step may be repeated and goes on where it stopped.

Layout of the files: https://github.com/inaturalist/inaturalist-open-data/tree/documentation/Metadata
"""

import csv
import gzip
import logging
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from upath import UPath

from catalog.ingestion import PDM, License, license_from_pair
from catalog.ingestion.errors import Fatal, Interrupted
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.tsv import COLUMNS
from catalog.loading.load import Load, LoadReport, RunKey
from catalog.providers.inaturalist.provider import FILES

log = logging.getLogger(__name__)
Connection = psycopg.Connection[Any]  # not in autocommit
BATCH = 500_000  # photos
CHUNK = 1 << 20
_HERE = Path(__file__).parent
_CODES = ("CC-BY-NC-SA", "CC-BY-NC", "CC-BY-NC-ND", "CC-BY", "CC-BY-SA", "CC-BY-ND", "CC0", "PD")
_INDEXES: dict[str, LiteralString] = {
    "photos": "create index on inaturalist.photos (photo_id)",
    "observations": "create index on inaturalist.observations (observation_uuid)",
    "taxa": "create index on inaturalist.taxa (taxon_id)",
    "observers": "create index on inaturalist.observers (observer_id)",
}


def token(root: UPath) -> str:
    """What tells one dump from another: names, sizes and tags (or times of change) of its files. Raises Fatal when one is missing."""
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
    """One file of the dump into its table; rows. A file that an earlier try loaded is not read again.

    Rows that PostgreSQL cannot read are left out and counted, where the server can do that (17 and later); before, they end the load.
    """
    path = root / f"{name}.csv.gz"
    with connection.transaction():
        if (known := _loaded(connection, name)) is not None:
            return known
        try:
            rows, unreadable = _copy(connection, path, name, strict=True)
        except psycopg.DataError as error:
            if connection.info.server_version < 170_000:
                raise Fatal(f"{path.name}: {error.diag.message_primary} ({error.diag.context})") from None
            log.warning("%s: %s; reading it again without such rows.", path.name, error.diag.message_primary)
            rows, unreadable = _copy(connection, path, name, strict=False)
        connection.execute(_INDEXES[name])
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier("inaturalist", name)))
        _done(connection, name, rows, unreadable)
    log.info("%s: %s rows, %s unreadable", path.name, f"{rows:,}", f"{unreadable:,}")
    return rows


def _copy(connection: Connection, path: UPath, name: str, *, strict: bool) -> tuple[int, int]:
    """(rows, rows left out). The header names the columns; columns that the dump did not have before are kept as text."""
    table, lines = sql.Identifier("inaturalist", name), 0
    with connection.transaction(), path.open("rb") as packed, gzip.open(packed, "rb") as file:
        header = file.readline().decode("utf-8-sig").rstrip("\r\n").split("\t")
        for column in header:
            connection.execute(
                sql.SQL("alter table {} add column if not exists {} text").format(
                    table, sql.Identifier(column)
                )
            )
        copy_sql = sql.SQL("copy {} ({}) from stdin (format csv, delimiter E'\\t', quote E'\\b'{})").format(
            table,
            sql.SQL(", ").join(map(sql.Identifier, header)),
            sql.SQL("" if strict else ", on_error ignore"),
        )
        with connection.cursor() as cursor:
            with cursor.copy(copy_sql) as copy:
                last = b""
                while chunk := file.read(CHUNK):
                    lines += chunk.count(b"\n")
                    last = chunk
                    copy.write(chunk)
            lines += bool(last) and not last.endswith(b"\n")
            return cursor.rowcount, lines - cursor.rowcount


def load_names(connection: Connection, archive: UPath | None) -> dict[str, int]:
    """Common names from the Catalogue of Life's archive (ColDP, a ZIP); rows by table. Without an archive there are none.

    Only the columns needed are read, by the names in the headers: the export's columns change from time to time.
    """
    wanted = {
        "vernacular_names": ("VernacularName.tsv", ("taxonID", "name", "country")),
        "scientific_names": ("NameUsage.tsv", ("ID", "scientificName")),
    }
    with connection.transaction():
        if _loaded(connection, "names") is not None or archive is None:
            return {}
        found = {}
        with _local(archive) as packed, zipfile.ZipFile(packed) as files:
            for table, (member, columns) in wanted.items():
                with files.open(member) as raw:
                    found[table] = _copy_columns(
                        connection, table, TextIOWrapper(raw, "utf-8-sig", newline=""), member, columns
                    )
        if not all(found.values()):
            raise Fatal(
                f"{archive.name} holds no names: {found}; is it the Catalogue of Life in the format ColDP?"
            )
        _done(connection, "names", sum(found.values()), 0)
    log.info("Catalogue of Life: %s", found)
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


def _copy_columns(
    connection: Connection, table: str, lines: Iterable[str], member: str, columns: tuple[str, ...]
) -> int:
    rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header = [name.removeprefix("col:") for name in next(rows)]
    if missing := set(columns) - set(header):
        raise Fatal(f"{member} has no column {', '.join(sorted(missing))}; it has {', '.join(header)}.")
    places = [header.index(c) for c in columns]
    with connection.cursor() as cursor:
        with cursor.copy(sql.SQL("copy {} from stdin").format(sql.Identifier("inaturalist", table))) as copy:
            for row in rows:
                if len(row) == len(header):
                    copy.write_row([row[p].replace("\0", "") or None for p in places])
        return cursor.rowcount


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
    """All photos, by identifier, about `size` rows each: identifiers have gaps of any width. The same for each try of a dump."""
    with connection.transaction():
        found = connection.execute(
            """
            select distinct photo_id
              from (select photo_id, row_number() over (order by photo_id) as place from inaturalist.photos) numbered
             where place %% %(size)s = 1 or %(size)s = 1
            """,
            {"size": size},
        ).fetchall()
        last = connection.execute("select max(photo_id) from inaturalist.photos").fetchone()
    firsts = sorted(first for (first,) in found)
    ends = [*firsts[1:], last[0] + 1] if last and last[0] is not None else []
    return [Batch(number, first, end) for number, (first, end) in enumerate(zip(firsts, ends, strict=True))]


def load_batches(
    connection: Connection, token: str, run: tuple[str, str], *, size: int = BATCH, include_deleted: bool = False, replayed: bool = False,
    progress: Callable[[Batch, int, LoadReport], None] = lambda *_: None, should_stop: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Brings all photos into the catalog, batch by batch, each in its own transaction with its report.

    run: id of DAG and run; a batch that this run has committed is not touched again. progress: called after each batch with the number of
    all. Raises Interrupted when asked to stop; the next try goes on at the next batch.
    """
    with connection.transaction():
        done = {n for (n,) in connection.execute(
            "select day_shift from ingestion_report where (dag_id, run_id, manifest_token) = (%s, %s, %s)", [*run, token])}  # fmt: skip
        found = connection.execute(
            "select unreadable from inaturalist.loaded where name = 'photos'"
        ).fetchone()
    unreadable = found[0] if found else 0
    wanted = batches(connection, size)
    for batch in wanted:
        if batch.number in done:
            continue
        report = _load_batch(
            connection, token, run, batch, unreadable if batch.number == 0 else 0, include_deleted, replayed
        )
        progress(batch, len(wanted), report)
        if should_stop():
            raise Interrupted(
                f"asked to stop after batch {batch.number + 1} of {len(wanted)}; the next try goes on there."
            )


def _load_batch(
    connection: Connection,
    token: str,
    run: tuple[str, str],
    batch: Batch,
    unreadable: int,
    include_deleted: bool,
    replayed: bool,
) -> LoadReport:
    began = time.monotonic()
    with connection.transaction():
        connection.execute("set local work_mem = '256MB'")
        connection.execute("drop table if exists inaturalist_batch")
        connection.execute(_statement("batch.sql"), {"first": batch.first, "end": batch.end})
        counted = dict(
            connection.execute("select reason, count(*) from inaturalist_batch group by 1").fetchall()
        )
    written = counted.pop(None, 0)
    rejected = {"unreadable row": unreadable} if unreadable else {}
    counts = Counts(written + sum(counted.values()) + unreadable, written, counted, rejected)
    manifest = Manifest(
        "inaturalist", run[1], None, replayed, datetime.now(UTC), token, batch.number + 1, round(time.monotonic() - began, 3),
        {"image": counts}, complete=True, whole=True,
    )  # fmt: skip
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS["image"]))
    rows = sql.SQL(
        "select {} from inaturalist_batch where reason is null order by foreign_identifier"
    ).format(columns)
    key = RunKey(run[0], run[1], batch.number)
    return Load(
        connection,
        "image",
        "inaturalist",
        rows,
        manifest,
        key,
        include_deleted=include_deleted,
        progress=log.debug,
    ).run()


def finish(connection: Connection, token: str, *, drop: bool) -> None:
    """Note that the dump is in the catalog, and drop its tables."""
    with connection.transaction():
        connection.execute(
            "insert into source_dump values ('inaturalist', %s) "
            "on conflict (provider) do update set token = excluded.token, loaded_on = now()",
            [token],
        )  # fmt: skip
        if drop:
            connection.execute("drop schema if exists inaturalist cascade")


def _loaded(connection: Connection, name: str) -> int | None:
    """Rows of what an earlier try has loaded. Holds the name until the transaction's end, so that two tries do not load it twice."""
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"inaturalist {name}"])
    row = connection.execute("select rows from inaturalist.loaded where name = %s", [name]).fetchone()
    return row[0] if row else None


def _done(connection: Connection, name: str, rows: int, unreadable: int) -> None:
    connection.execute("insert into inaturalist.loaded values (%s, %s, %s)", [name, rows, unreadable])


def _statement(file: str) -> sql.SQL:
    return sql.SQL((_HERE / file).read_text(encoding="utf-8"))
