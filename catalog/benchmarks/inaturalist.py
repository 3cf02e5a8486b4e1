"""Load of a generated iNaturalist dump: photos per second, memory of the client and of its server process.

BENCH_PHOTOS (default: 2,000,000) photos, two thirds as many observations, 100,000 observers, 60,000 taxa with
names. The floor is a bare COPY of the photos' file.
"""

import gzip
import os
import random
import resource
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
from upath import UPath

from catalog.benchmarks._servers import postgres
from catalog.core.session import Connection
from catalog.database import schema
from catalog.providers.inaturalist import dump, dump_files, photo_batches, taxa
from catalog.providers.inaturalist.provider import FILES

PHOTOS = int(os.environ.get("BENCH_PHOTOS", "2000000"))
OBSERVERS, TAXA = 100_000, 60_000
LICENSES = ("CC-BY-NC", "CC-BY-NC", "CC-BY-NC", "CC-BY", "CC0", "CC-BY-NC-SA")


Row = tuple[object, ...]


def write(path: Path, header: str, rows: Iterable[Row]) -> None:
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.write(header.replace(" ", "\t") + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def photo_rows(uuids: list[UUID]) -> Iterator[Row]:
    for n in range(PHOTOS):
        observation = n * 2 // 3
        observer, license_ = observation % OBSERVERS, LICENSES[n % 6]
        yield UUID(int=n), n * 2, uuids[observation], observer, "jpeg", license_, 2048, 1536, n % 3


def observation_rows(uuids: list[UUID]) -> Iterator[Row]:
    pick = random.randrange
    for n, uuid in enumerate(uuids):
        latitude, longitude = f"{pick(90)}.1234567890", f"{pick(180)}.1234567890"
        yield uuid, n % OBSERVERS, latitude, longitude, 5, 10 + n % (TAXA + 600), "research", "2024-02-10"


def observer_rows() -> Iterator[Row]:
    for n in range(OBSERVERS):
        yield n, f"login{n}", f"Name {n}" if n % 5 == 0 else ""


def taxon_rows() -> Iterator[Row]:
    for n in range(TAXA):
        ancestors = "/".join(str(10 + n // 7**p) for p in range(5, 0, -1))
        yield 10 + n, f"48460/{ancestors}", 10, "species", f"Madeupia nova{n}", "true"


def generate(folder: Path) -> None:
    random.seed(7)
    uuids = [UUID(int=random.getrandbits(128)) for _ in range(PHOTOS * 2 // 3)]
    columns = "photo_uuid photo_id observation_uuid observer_id extension license width height position"
    write(folder / "photos.csv.gz", columns, photo_rows(uuids))
    columns = "observation_uuid observer_id latitude longitude positional_accuracy taxon_id quality_grade"
    write(folder / "observations.csv.gz", f"{columns} observed_on", observation_rows(uuids))
    write(folder / "observers.csv.gz", "observer_id login name", observer_rows())
    write(folder / "taxa.csv.gz", "taxon_id ancestry rank_level rank name active", taxon_rows())
    with zipfile.ZipFile(folder / "catalogue_of_life.zip", "w", zipfile.ZIP_DEFLATED) as files:
        names = "".join(
            f"T{n}\tcommon name {n} {k}\tC{k % 5}\n" for n in range(0, TAXA, 3) for k in range(1 + n % 12)
        )
        files.writestr("VernacularName.tsv", "taxonID\tname\tcountry\n" + names)
        files.writestr(
            "NameUsage.tsv",
            "ID\tscientificName\n" + "".join(f"T{n}\tMadeupia nova{n}\n" for n in range(TAXA)),
        )


def floor(connection: Connection, path: Path) -> float:
    """Return the photos per second of a bare COPY."""
    with connection.transaction(force_rollback=True):
        connection.execute("create unlogged table floor (like inaturalist.photos)")
        began = time.perf_counter()
        with (
            gzip.open(path, "rb") as file,
            connection.cursor().copy(
                "copy floor from stdin (format csv, header, delimiter E'\\t', quote E'\\b')"
            ) as copy,
        ):
            while chunk := file.read(1 << 20):
                copy.write(chunk)
        return PHOTOS / (time.perf_counter() - began)


def timed(what: str, step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    seconds = time.perf_counter() - began
    print(f"{what:34} {seconds:7.1f} s")
    return seconds


def main() -> None:
    with postgres("catalog") as (server, base):
        folder = base / "dump"
        folder.mkdir()
        timed(f"generate {PHOTOS:,} photos", lambda: generate(folder))
        schema.upgrade(server.dsn("catalog"))
        with psycopg.connect(server.dsn("catalog")) as connection:
            measure(connection, UPath(folder))


def measure(connection: Connection, root: UPath) -> None:
    backend = psutil.Process(connection.info.backend_pid)
    token = dump_files.token(root)
    dump.prepare(connection, token)
    total = timed(
        "Catalogue of Life", lambda: taxa.load_names(connection, root / "catalogue_of_life.zip", token)
    )
    for name in FILES:
        total += timed(f"load {name}", lambda name=name: dump_files.load_file(connection, root, name, token))  # type: ignore[misc]
    total += timed("name taxa", lambda: taxa.name_taxa(connection, token))
    total += timed("check", lambda: dump.check(connection, root, token, ("bench", "first")))

    def progress(batch: photo_batches.Batch, of: int, report: object) -> None:
        server = backend.memory_full_info().uss / 2**20
        client = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        memory = f"client's peak {client:.0f} MB, server process {server:.0f} MB"
        print(f"  batch {batch.number + 1} of {of}: {memory}")

    for run in ("first", "again"):
        seconds = timed(
            f"{run}: batches",
            partial(photo_batches.load_batches, connection, token, ("bench", run), progress=progress),
        )
        batches, whole = PHOTOS / seconds, PHOTOS / (seconds + total)
        print(f"{run}: {batches:,.0f} photos/s in batches, {whole:,.0f} photos/s from file to catalog")
    bare = floor(connection, Path(str(root)) / "photos.csv.gz")
    ratio = PHOTOS / seconds / bare
    print(
        f"bare COPY of the photos' file: {bare:,.0f} rows/s; the batches of the second run: {ratio:.3f} of it"
    )
