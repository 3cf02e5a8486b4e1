"""Concurrent ingestion, batched updates and deletions on the same rows.

No task fails with a deadlock, nothing is lost, and ingestion hardly waits.
"""

import threading
import time
import uuid
from datetime import UTC, datetime

import psycopg
import pytest
from upath import UPath

from catalog.database.batched_update import BatchedUpdate
from catalog.database.deletion import Deletion, restore
from catalog.database.statements import parse_condition, parse_update
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.loading.load import Load
from catalog.loading.report import LoadKey
from catalog.provider_api import CC0, Image
from catalog.tests.values import present

ROWS = 2000
BATCH = 200
GONE = "WHERE provider = 'flickr' AND foreign_identifier LIKE '%7'"  # are deleted and restored


def part(folder, number):
    """Return all rows with the title of this load, in another order each time, as APIs do."""
    encoder = Encoder("image", "flickr", UrlCleaner())
    order = sorted(range(ROWS), key=lambda n: (n * 7919 * (number + 1)) % ROWS)
    lines = [
        encoder.line(
            Image(
                foreign_identifier=n,
                foreign_landing_url=f"https://example.org/{n}",
                url=f"https://example.org/{n}.jpg",
                license=CC0,
                title=f"load {number}",
                meta_data={"views": (n * number) % 997},
            )
        )
        for n in order
    ]
    path = UPath(folder / f"{number}.tsv")
    path.write_text("".join(lines))
    return path


class Storm:
    """Workers that run until the time is up, and keep all exceptions."""

    def __init__(self, dsn, folder, seconds):
        self.dsn, self.folder, self.until = dsn, folder, time.monotonic() + seconds
        self.errors, self.loads, self.cycles, self.deletions, self.waited = [], 0, 0, 0, 0.0

    def over(self):
        return time.monotonic() > self.until or bool(self.errors)

    def load(self, connection):
        token, number = uuid.uuid4().hex, self.loads
        counts = {"image": Counts(ROWS, ROWS)}
        manifest = Manifest(
            "flickr", token, None, False, datetime.now(UTC), token, 1, counts=counts, complete=True
        )
        Load(
            connection, "image", "flickr", [part(self.folder, number)], manifest, LoadKey("storm", token)
        ).run()
        self.loads += 1

    def ingestion(self):
        with psycopg.connect(self.dsn, application_name="ingestion") as connection:
            while not self.over():
                self.load(connection)

    def updates(self):
        """Add 1 to the width of every row in each cycle."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            what = parse_update("image", "SET width = coalesce(width, 0) + 1", "WHERE provider = 'flickr'")
            while not self.over():
                job = BatchedUpdate(
                    connection, f"storm_{self.cycles}", "storm", what, batch_size=BATCH, pause=0.05
                )
                job.run(job.claim(resume=False) or job.select())
                job.finish()
                self.cycles += 1

    def popularity(self):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.over():
                score = (
                    "metric_value(meta_data, 'views') / "
                    f"(metric_value(meta_data, 'views') + {self.deletions + 1})"
                )
                what = parse_update(
                    "image", f"SET standardized_popularity = {score}", "WHERE provider = 'flickr'"
                )
                job = BatchedUpdate(
                    connection, f"score_{uuid.uuid4().hex[:8]}", "storm", what, batch_size=BATCH, pause=0.05
                )
                job.run(job.claim(resume=False) or job.select())
                job.finish()

    def deleting(self):
        condition = parse_condition("image", GONE)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.over():
                job = Deletion(
                    connection,
                    f"storm {uuid.uuid4()}",
                    "image",
                    condition,
                    "storm",
                    batch_size=50,
                    pause=0.05,
                )
                self.deletions += job.run(job.claim() or job.select()).updated
                job.finish()
                restore(connection, "image", condition, batch_size=50, pause=0.05)

    def watching(self):
        """Measure the longest time that ingestion waits for a lock."""
        since = None
        query = (
            "select count(*) from pg_stat_activity where application_name = 'ingestion' "
            "and wait_event_type = 'Lock'"
        )
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.over():
                [waits] = present(connection.execute(query).fetchone())
                since = (since or time.monotonic()) if waits else None
                self.waited = max(self.waited, time.monotonic() - since if since else 0)
                time.sleep(0.005)

    def run(self):
        def guarded(work):
            try:
                work()
            except Exception as error:
                self.errors.append(error)

        workers = (self.ingestion, self.updates, self.popularity, self.deleting, self.watching)
        threads = [threading.Thread(target=guarded, args=[work]) for work in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("seconds", [6, pytest.param(130, marks=pytest.mark.fault_long)])
def test_a_storm(catalog, dsn, tmp_path, seconds):
    storm = Storm(dsn, tmp_path, seconds)
    with psycopg.connect(dsn) as connection:
        storm.load(connection)
    storm.run()
    assert not storm.errors, storm.errors
    print(
        f"{storm.loads} loads, {storm.cycles} updates, {storm.deletions} deletions; "
        f"ingestion waited {storm.waited:.3f} s at most"
    )
    assert min(storm.loads, storm.cycles) > 2
    assert storm.deletions > 0
    wrong = "select count(*) from image where foreign_identifier not like '%%7' and width is distinct from %s"
    assert catalog.execute(wrong, [storm.cycles]).fetchone() == (0,)  # no update was lost, none came twice
    assert catalog.execute(
        "select count(distinct title) from image where foreign_identifier not like '%7'"
    ).fetchone() == (1,)
    keys = "select foreign_identifier from image union select foreign_identifier from deleted_image"
    assert catalog.execute(f"select count(*) from ({keys}) k").fetchone() == (ROWS,)
