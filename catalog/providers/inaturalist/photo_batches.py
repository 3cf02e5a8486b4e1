"""Loads the photos of a dump into the catalog, in batches; an interrupted load resumes after the last one."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from psycopg import sql

from catalog.core.columns import COLUMNS
from catalog.core.errors import Fatal, Interrupted
from catalog.core.session import Connection, raise_memory
from catalog.core.sql_files import read_sql
from catalog.ingestion.parts import Counts, Manifest
from catalog.loading.load import Load
from catalog.loading.report import LoadKey, LoadReport
from catalog.providers.inaturalist.progress import CHECKED, LOADED, begun, require

log = logging.getLogger(__name__)
BATCH = 500_000  # photos
# The manifest token of a batch is that of the dump and the size of the batches: they are known by number, and
# with another size, a number means other photos. Releases before this had the token only.
_OF_DUMP = sql.SQL("(dag_id, run_id, split_part(manifest_token, '/', 1)) = (%s, %s, %s)")
UNREADABLE = "unreadable row"


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
) -> int:
    """Load all photos into the catalog; each batch has its own transaction and report.

    The reports are marked as whole after the last batch.

    Args:
        connection: Connection to the catalog database.
        token: Token of the dump that the run has prepared.
        run: Ids of DAG and run; batches that this run has committed are skipped.
        size: Number of photos per batch, unless an earlier attempt has begun with another one.
        include_deleted: Restore photos that were deleted from the catalog.
        replayed: The dump is a recording.
        shortfalls: Accepted shortfalls.
        progress: Called after each batch with the batch, the number of batches, and its report.
        should_stop: Called after each batch; True raises Interrupted.

    Returns:
        The number of batches.

    Raises:
        Fatal: The tables do not hold all of this dump or were not checked, or it has no photos.
        Interrupted: `should_stop` returned True; the next attempt resumes at the next batch.
    """
    with connection.transaction():
        if whole := batches_of_whole_load(connection, token, run):
            return whole
        reports = connection.execute(
            sql.SQL("select day_shift, manifest_token from ingestion_report where {}").format(_OF_DUMP),
            [*run, token],
        ).fetchall()
        require(connection, token, (*LOADED, CHECKED), counted=True)
        began = begun(connection)
        label = next((label for _, label in reports), f"{token}/{size}")
        size = int(label.partition("/")[2] or size)
        wanted = batches(connection, size)
    if not wanted:
        raise Fatal("the dump holds no photos; look into its photos.csv.gz, and trigger a new run.")
    done = {number for number, _ in reports}
    load = _BatchLoad(connection, token, label, began, run, include_deleted, replayed, list(shortfalls))
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
            sql.SQL("update ingestion_report set whole = true where {}").format(_OF_DUMP), [*run, token]
        )
    return len(wanted)


def batches_of_whole_load(connection: Connection, token: str, run: tuple[str, str]) -> int | None:
    """Return the number of batches in which a run has loaded a whole dump; None if it has not.

    Args:
        connection: Connection to the catalog database.
        token: Token of the dump.
        run: Ids of DAG and run.
    """
    found = connection.execute(
        sql.SQL("select count(*) from ingestion_report where {} having bool_and(complete and whole)").format(
            _OF_DUMP
        ),
        [*run, token],
    ).fetchone()
    return found[0] if found else None


class _BatchLoad(msgspec.Struct):
    """Loads batches of one dump for one run."""

    connection: Connection
    token: str
    label: str
    began: datetime
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
            started=self.began,
            token=self.label,
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
            LoadKey(*self.run, batch.number),
            include_deleted=self.include_deleted,
            progress=log.debug,
        ).run()

    def _select(self, batch: Batch) -> Counts:
        """Select the rows of a batch into a temporary table and count its photos."""
        with self.connection.transaction():
            require(self.connection, self.token, LOADED)
            raise_memory(self.connection, "work_mem", "256MB")
            self.connection.execute("drop table if exists inaturalist_batch")
            self.connection.execute(
                read_sql(Path(__file__).with_name("batch.sql")), {"first": batch.first, "end": batch.end}
            )
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
