"""Record → TSV: the encoder alone, with JSON decoding and mapping, and a whole pull with its memory."""

import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime

import orjson
from upath import UPath

from catalog.benchmarks._photos import photos
from catalog.core.jsontypes import Params
from catalog.ingestion.client import Client
from catalog.ingestion.pagination import Cursor, Page
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.ingestion.windows import day_window
from catalog.providers.flickr.provider import Flickr
from catalog.providers.flickr.search import Search

PAGES, PER_PAGE, ROUNDS = 40, 500, 5


class EndlessPages(Search):
    """Pages of the same photos with new identifiers; each page is decoded from JSON, as a response is."""

    def __init__(self, bodies: list[bytes], pages: int) -> None:
        super().__init__()
        self._bodies, self._pages = bodies, pages

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        number = cursor["page"]
        items = orjson.loads(self._bodies[number % len(self._bodies)])
        for item in items:
            item["id"] = f"{item['id']}-{number}"
        return Page(items, {"page": number + 1} if number + 1 < self._pages else None)


def main() -> None:
    bodies = [orjson.dumps(list(photos(PER_PAGE, n * PER_PAGE, seed=n))) for n in range(PAGES)]
    pull = _pull(bodies, 1_000_000)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    provider, count = Flickr(), PAGES * PER_PAGE
    encode, whole, floor = [], [], []
    for _ in range(ROUNDS):
        encoder = Encoder("image", "flickr", UrlCleaner())
        began = time.perf_counter()
        decoded = [orjson.loads(body) for body in bodies]
        floor.append(count / (time.perf_counter() - began))
        records = [provider.record(raw) for page in decoded for raw in page]
        began = time.perf_counter()
        size = len("".join([encoder.line(record) for record in records]).encode())
        encode.append(count / (time.perf_counter() - began))
        began = time.perf_counter()
        for body in bodies:
            "".join([encoder.line(provider.record(raw)) for raw in orjson.loads(body)]).encode()
        whole.append(count / (time.perf_counter() - began))
    line, all_, json = map(statistics.median, (encode, whole, floor))
    print(f"record → TSV, one core, {count:,} photos of {size // count} bytes, median of {ROUNDS}:")
    print(f"  encoder alone             {line:>9,.0f} records/s")
    ratio = f"{all_ / json:.2f} of bare JSON decoding, {json:,.0f}/s"
    print(f"  decode + map + encode     {all_:>9,.0f} records/s   ({ratio})")
    print(f"  whole pull, 1 M records   {pull:>9,.0f} records/s   (parts and checkpoints written)")
    print(f"  peak memory of the pull   {memory:>9,} MB")


def _pull(bodies: list[bytes], records: int) -> float:
    class Endless(Flickr):
        pages = EndlessPages(bodies, records // PER_PAGE)

        def rounds(self, *_: object) -> list[dict[str, object]]:
            return [{"min_upload_date": 0, "max_upload_date": 1}]

    with tempfile.TemporaryDirectory() as folder:
        window = day_window(datetime(2020, 2, 9, tzinfo=UTC).date())
        parts = Parts(UPath(folder), "flickr", datetime.now(UTC), window)
        began = time.perf_counter()
        manifest = Pull(Endless(), Client(), parts, run_id="bench", window=window).run()
        seconds = time.perf_counter() - began
    assert manifest.counts["image"].written == records
    return records / seconds
