"""A generated dump of iNaturalist into the catalog: photos a second, and the memory of the client and of its server process.

BENCH_PHOTOS (2 000 000) photos of two thirds as many observations, 100 000 observers, 60 000 taxa with names.
The floor is a bare COPY of the photos' file.
"""

import gzip
import os
import random
import resource
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
from upath import UPath

from catalog.database import schema
from catalog.local.postgres import Postgres
from catalog.providers.inaturalist import dump
from catalog.providers.inaturalist.provider import FILES

PHOTOS = int(os.environ.get("BENCH_PHOTOS", "2000000"))
OBSERVERS, TAXA = 100_000, 60_000
LICENSES = ("CC-BY-NC", "CC-BY-NC", "CC-BY-NC", "CC-BY", "CC0", "CC-BY-NC-SA")


def write(path: Path, header: str, lines: Iterable[str]) -> None:
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.write(header.replace(" ", "\t") + "\n")
        file.writelines(lines)


def generate(folder: Path) -> None:
    random.seed(7)
    observations = PHOTOS * 2 // 3
    uuid = [UUID(int=random.getrandbits(128)) for _ in range(observations)]
    pick = random.randrange
    write(
        folder / "photos.csv.gz",
        "photo_uuid photo_id observation_uuid observer_id extension license width height position",
        (
            f"{UUID(int=n)}\t{n * 2}\t{uuid[n * 2 // 3]}\t{n * 2 // 3 % OBSERVERS}\tjpeg\t{LICENSES[n % 6]}\t2048\t1536\t{n % 3}\n"
            for n in range(PHOTOS)
        ),
    )
    columns = "observation_uuid observer_id latitude longitude positional_accuracy taxon_id quality_grade observed_on"
    write(
        folder / "observations.csv.gz",
        columns,
        (
            f"{uuid[n]}\t{n % OBSERVERS}\t{pick(90)}.1234567890\t{pick(180)}.1234567890\t5\t{10 + n % (TAXA + 600)}\tresearch\t2024-02-10\n"
            for n in range(observations)
        ),
    )
    write(
        folder / "observers.csv.gz",
        "observer_id login name",
        (f"{n}\tlogin{n}\t{f'Name {n}' if n % 5 == 0 else ''}\n" for n in range(OBSERVERS)),
    )
    above = ["/".join(str(10 + n // 7**p) for p in range(5, 0, -1)) for n in range(TAXA)]
    write(
        folder / "taxa.csv.gz",
        "taxon_id ancestry rank_level rank name active",
        (f"{10 + n}\t48460/{above[n]}\t10\tspecies\tMadeupia nova{n}\ttrue\n" for n in range(TAXA)),
    )
    with zipfile.ZipFile(folder / "catalogue_of_life.zip", "w", zipfile.ZIP_DEFLATED) as files:
        names = "".join(
            f"T{n}\tcommon name {n} {k}\tC{k % 5}\n" for n in range(0, TAXA, 3) for k in range(1 + n % 12)
        )
        files.writestr("VernacularName.tsv", "taxonID\tname\tcountry\n" + names)
        files.writestr(
            "NameUsage.tsv",
            "ID\tscientificName\n" + "".join(f"T{n}\tMadeupia nova{n}\n" for n in range(TAXA)),
        )


def floor(connection: psycopg.Connection, path: Path) -> float:
    """Photos a second of a bare COPY."""
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
    base = Path(tempfile.mkdtemp(dir="/var/tmp"))
    base.chmod(0o755)
    server = Postgres(base / "pg", "bench", durable=False)
    try:
        folder = base / "dump"
        folder.mkdir()
        timed(f"generate {PHOTOS:,} photos", lambda: generate(folder))
        server.start(("catalog",))
        schema.upgrade(server.dsn("catalog"))
        with psycopg.connect(server.dsn("catalog")) as connection:
            measure(connection, UPath(folder))
    finally:
        server.stop()
        shutil.rmtree(base, ignore_errors=True)


def measure(connection: psycopg.Connection, root: UPath) -> None:
    backend = psutil.Process(connection.info.backend_pid)
    peaks: list[float] = []
    token = dump.token(root)
    dump.prepare(connection, token)
    total = timed("Catalogue of Life", lambda: dump.load_names(connection, root / "catalogue_of_life.zip"))
    for name in FILES:
        total += timed(f"load {name}", lambda name=name: dump.load_file(connection, root, name))  # type: ignore[misc]
    total += timed("name taxa", lambda: dump.name_taxa(connection))

    def progress(batch: dump.Batch, of: int, report: object) -> None:
        memory = backend.memory_full_info()
        peaks.append(memory.uss / 2**20)
        client = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"  batch {batch.number + 1} of {of}: client's peak {client:.0f} MB, server process {peaks[-1]:.0f} MB"
        )

    for run in ("first", "again"):
        seconds = timed(
            f"{run}: batches",
            partial(dump.load_batches, connection, token, ("bench", run), progress=progress),
        )
        print(
            f"{run}: {PHOTOS / seconds:,.0f} photos/s in batches, {PHOTOS / (seconds + total):,.0f} photos/s from file to catalog"
        )
    bare = floor(connection, Path(str(root)) / "photos.csv.gz")
    print(
        f"bare COPY of the photos' file: {bare:,.0f} rows/s; first load is {PHOTOS / seconds / bare:.3f} of it (again, in batches)"
    )


if __name__ == "__main__":
    main()
