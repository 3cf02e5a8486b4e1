"""The way of an older catalog into production, from the check of its rows to a search.

    python -m catalog.tests.cleaning.rehearsal 500000

rehearses it with this number of images and a tenth of it of audio files, and prints what each step did.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from catalog.cleaning.inspection import inspect_rows
from catalog.cleaning.job import CleaningJob
from catalog.cleaning.rules import RULES
from catalog.cleaning.survey import survey
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.indexing import RangeIndexer, ranges
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.data_refresh.tables import promotion
from catalog.data_refresh.tables.catch_up import catch_up
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.database import schema
from catalog.database.adoption import adopt, check, inspect
from catalog.database.batched_update import BatchedUpdate
from catalog.database.refusals import accept_all
from catalog.database.statements import parse_update, verify
from catalog.local.postgres import Postgres
from catalog.local.search import SearchEngine
from catalog.popularity import popularity
from catalog.tests.data_refresh.indexes import make as make_index
from catalog.tests.database.adopted import OLDEST, duplicate
from catalog.tests.database.generations import fill, make
from catalog.tests.folders import folder_for_servers
from catalog.tests.loading.loader import Loader, image

URL = "https://creativecommons.org/licenses/by/4.0/"
N = "substr(foreign_identifier, 3)::bigint"
WHERE = "foreign_identifier ~ '^id[0-9]+$'"
_CLEAN = """
    update {media} set provider = '{provider}', foreign_landing_url = 'https://example.org/page/' || {n},
           url = 'https://example.org/file/' || {n} || '.jpg', thumbnail = null, license = 'by',
           license_version = '4.0', creator = 'Creator', creator_url = null, title = 'Bridge ' || {n},
           meta_data = '{{"license_url": "{url}", "views": "12"}}', filesize = null, {own},
           tags = '[{{"name": "bridge", "provider": "{provider}"}}]'
     where {where} and {n} % 2 = 0
"""
OWN = {"image": ("flickr", "width = 640, height = 480"), "audio": ("jamendo", "duration = 1000")}
DIRT = {
    2: "title = 'Bridge &amp; <b>River</b> ' || {n} || '.jpg'",
    4: r"""title = 'Br\u00fccke ' || {n}, creator = 'Andru00e9',
           tags = '[{{"name": "br\\u00fccke", "provider": "x"}}, {{"name": "brücke", "provider": "x"}}]'""",
    6: """tags = '[{{"name": " a "}}, {{"name": "a", "provider": "{provider}"}}, "a", null]'""",
    8: "url = 'example.org/a file/' || {n}, foreign_landing_url = 'https://example.org/page/' || {n} || '/'",
    10: "meta_data = to_jsonb(meta_data::text)",
    12: "license = 'BY', license_version = '4'",
    14: "license = 'by-nc'",
    16: "filesize = 0",
    18: """meta_data = '{{"license_url": "http://creativecommons.org/licenses/by/4.0/deed.de"}}'""",
    20: """tags = '[{{"name": "a", "provider": "x", "accuracy": "high"}}, {{"name": 7}}]'""",
    22: "title = 'Bridge &amp;amp; ' || {n}",
    24: "url = 'http://live.staticflickr.com/' || {n} || '.jpg'",
}
"""Number of a record, modulo 32 → how it is spoiled."""
CLEANED = {
    2: "title = 'Bridge & River ' || {n}",
    4: """title = 'Brücke ' || {n} and creator = 'André'
          and tags = '[{{"name": "brücke", "provider": "x"}}]'""",
    6: """tags = '[{{"name": "a", "provider": "{provider}"}}]'""",
    8: "url = 'https://example.org/a%20file/' || {n}"
    " and foreign_landing_url = 'https://example.org/page/' || {n}",
    10: """meta_data = '{{"license_url": "{url}", "views": "12"}}'""",
    12: "(license, license_version) = ('by', '4.0')",
    14: "license = 'by-nc'",
    16: "filesize is null",
    18: """meta_data = '{{"license_url": "{url}",
           "raw_license_url": "http://creativecommons.org/licenses/by/4.0/deed.de"}}'""",
    20: """tags = '[{{"name": "a", "provider": "x", "accuracy": "high"}}, {{"name": 7}}]'""",
    22: "title = 'Bridge &amp;amp; ' || {n}",
    24: "url = 'https://live.staticflickr.com/' || {n} || '.jpg'",
}
"""The same number → what is true for the record afterwards; three kinds of dirt stay."""


def soil(connection: Connection, media: str) -> None:
    """Make half of the rows ordinary ones, and some of these dirty; the others have wild values already."""
    provider, own = OWN[media]
    names = {"media": media, "provider": provider, "own": own, "n": N, "where": WHERE, "url": URL}
    connection.execute(_CLEAN.format(**names))
    for number, change in DIRT.items():
        connection.execute(
            f"update {media} set {change.format(**names)} where {WHERE} and {N} % 32 = {number}"
        )


def not_cleaned(connection: Connection, media: str) -> dict[int, int]:
    """Return the kinds of dirt with records that are not as they should be, and the number of these."""
    names = {"provider": OWN[media][0], "n": N, "url": URL}
    found = {}
    for number, test in CLEANED.items():
        row = connection.execute(
            f"select count(*) from {media} where case when {WHERE} then {N} % 32 = {number} end"
            f" and provider = '{names['provider']}' and ({test.format(**names)}) is not true"
        ).fetchone()
        if row and row[0]:
            found[number] = row[0]
    return found


class Rehearsal:
    """All steps, each of which is timed and reported.

    Args:
        dsn: Address of an empty database for the catalog.
        api_dsn: Address of an API database.
        search: The engine.
        folder: For the parts of the load.
        say: Called with a line about each step.
    """

    def __init__(
        self,
        dsn: str,
        api_dsn: str,
        search: Indexes,
        folder: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.dsn, self._api_dsn, self._search, self._folder, self._say = dsn, api_dsn, search, folder, say
        self.surveyed: dict[tuple[str, str], tuple[int, dict[str, int]]] = {}
        self.changed: dict[tuple[str, str], int] = {}
        self.again: dict[tuple[str, str], int] = {}

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        notes: list[str] = []
        began = time.perf_counter()
        yield notes
        self._say(f"{name}: {time.perf_counter() - began:.1f} s" + "".join(f"\n    {note}" for note in notes))

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            yield connection

    def old(self, rows: int) -> None:
        """Make the older catalog."""
        with self._step(f"an older catalog of {rows:,} images"), self.connected() as connection:
            make(connection, OLDEST)
            fill(connection, "image", rows)
            fill(connection, "audio", rows // 10)
            for media in MEDIA_TYPES:
                soil(connection, media)
            duplicate(connection)
            connection.execute("vacuum analyze")

    def check(self) -> None:
        with self._step("catalog db adopt --check") as notes, self.connected() as connection:
            found = inspect(connection, move_duplicates=True)
            check(found)
            for one in inspect_rows(connection):
                self.surveyed[one.table, one.rule] = one.rows, one.left
                about = "" if one.exact else f"about (from {one.read:,} rows) "
                notes.append(f"{one.table}, {one.rule}: {about}{one.rows:,} rows; stay: {one.left}")

    def adopt(self) -> None:
        with self._step("catalog db adopt") as notes:
            notes.append(str(adopt(self.dsn, move_duplicates=True)))

    def clean(self) -> None:
        """Clean all tables by all rules, twice."""
        for totals in (self.changed, self.again):
            for rule in RULES.values():
                for media in MEDIA_TYPES:
                    with self._step(f"clean {media}, {rule.name}") as notes, self.connected() as connection:
                        job = CleaningJob(connection, f"run {len(self.again)}", rule, media)
                        progress = job.run(job.claim(replace=True) or job.select())
                        job.finish(forget=True)
                        totals[media, rule.name] = progress.updated
                        notes.append(f"{progress.updated:,} rows changed, of {progress.total:,} selected")
        with self.connected() as connection:
            left = {media: survey(connection, RULES.values(), media) for media in MEDIA_TYPES}
            assert not any(one.rows for found in left.values() for one in found.values())

    def ingest(self, rows: int) -> Any:
        """Load records of which half are in the catalog."""
        with self._step(f"load of {rows:,} records") as notes, self.connected() as connection:
            found = connection.execute(
                f"select {N} from image where provider = 'flickr' and {WHERE} limit %s", [rows // 2]
            ).fetchall()
            known = [image(n, title=f"Bridge {n}", tags=["bridge"]) for (n,) in found]
            new = [image(f"new{n}", title="A new bridge") for n in range(rows - len(known))]
            report = Loader(self.dsn, self._folder)([*known, *new], provider="flickr")
            notes.append(
                f"inserted {report.inserted:,}, updated {report.updated:,}, {report.unchanged:,} unchanged"
            )
            return report

    def popularity(self) -> int:
        with self._step("popularity") as notes, self.connected() as connection:
            scored = 0
            for media in MEDIA_TYPES:
                providers = popularity.update_metrics(connection, media)
                for provider in providers:
                    popularity.refresh_constant(connection, media, provider, 600)
                for metric in popularity.due(connection, media, providers, force=True):
                    conf = popularity.update_conf(media, metric.provider)
                    update = parse_update(media, conf["update_query"], conf["select_query"])
                    verify(connection, update)
                    job = BatchedUpdate(connection, conf["query_id"], "rehearsal", update)
                    job.run(job.claim() or job.select())
                    job.finish()
                    scored += popularity.note_refreshed(connection, media, metric.provider, 600)
            notes.append(f"{scored:,} records have a score")
            return scored

    def refresh(self) -> int:
        """Refresh the API database and the index; return the number of documents."""
        documents = 0
        with self.connected() as catalog, psycopg.connect(self._api_dsn, autocommit=True) as api:
            with self._step("refresh: tables") as notes:
                for table in ("image", "audioset", "audio"):
                    copied = TableCopy(catalog, api, table, "run").run()
                    build_indexes(api, table)
                    catch_up(api, table)
                    notes.append(f"{table}: {copied.rows:,} rows")
                promotion.promote(api, ["image", "audioset", "audio"], "run", number=1, judge=accept_all)
            with self._step("refresh: documents") as notes:
                for media in MEDIA_TYPES:
                    make_index(self._search, f"{media}-adopted", media)
                    for part in ranges(api, media, 1):
                        done = RangeIndexer(
                            api, self._search, f"{media}-adopted", media, media, DEFAULT, part
                        ).run()
                        documents += done.documents
                        notes.append(
                            f"{media}: {done.documents:,} documents; without one: {dict(done.rejected)}"
                        )
                    self._search.refresh(f"{media}-adopted")
        return documents

    def found(self, words: str) -> int:
        """Return the number of images whose title has all of these words."""
        query = {"match": {"title": {"query": words, "operator": "and"}}}
        with self._step(f"search for {words!r}") as notes:
            found = self._search.client.count(index="image-adopted", query=query)
            notes.append(f"{found['count']:,} images")
        return int(found["count"])

    def run(self, rows: int) -> None:
        self.old(rows)
        self.check()
        self.adopt()
        self.clean()
        with self.connected() as connection:
            left = {media: not_cleaned(connection, media) for media in MEDIA_TYPES}
        assert not any(left.values()), left
        self.ingest(rows // 10)
        self.popularity()
        self.refresh()
        self.found("bridge river")


def main(rows: int) -> None:
    folder = folder_for_servers("catalog-rehearsal-")
    server = Postgres(folder / "postgres", "rehearsal", durable=False)
    engine = SearchEngine(folder / "search", quick=True)
    try:
        server.start(("catalog", "api"))
        schema.upgrade(server.dsn("api"), "api")
        engine.start()
        engine.wait()
        search = Indexes(connect(engine.url, engine="opensearch"))
        with tempfile.TemporaryDirectory() as parts:
            Rehearsal(server.dsn("catalog"), server.dsn("api"), search, Path(parts), print).run(rows)
    finally:
        engine.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
