"""Flickr's peculiarities: the first page served twice, slices that announce too much, errors with status 200."""

from datetime import UTC, date, datetime
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from requests import Response
from requests.adapters import BaseAdapter
from upath import UPath

from catalog.ingestion.client import Client
from catalog.ingestion.errors import Fatal, Retry
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import REPEATED, Pull
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.windows import day_window
from catalog.providers.flickr.provider import LICENSES, MAX_UNIQUE, PER_PAGE, Flickr

DAY = day_window(date(2024, 2, 10))


class FakeFlickr(BaseAdapter):
    """Serves photos as Flickr does: page 0 is page 1, nothing new after 4 000, pages past the end repeat the last one."""

    def __init__(self, photos):
        super().__init__()
        self.photos, self.requests = photos, []

    def send(self, request, **_):
        params = {k: v[0] for k, v in parse_qs(urlsplit(request.url).query).items()}
        self.requests.append(params)
        start, end = int(params["min_upload_date"]), int(params["max_upload_date"])
        found = [
            p
            for p in self.photos
            if start <= int(p["dateupload"]) < end and p["license"] in params["license"].split(",")
        ]
        page = max(1, int(params["page"]))
        pages = -(-len(found) // PER_PAGE)
        shown = (
            found[:MAX_UNIQUE][(min(page, pages, MAX_UNIQUE // PER_PAGE) - 1) * PER_PAGE :][:PER_PAGE]
            if found
            else []
        )
        body = {
            "stat": "ok",
            "photos": {
                "page": page,
                "pages": pages,
                "perpage": PER_PAGE,
                "total": len(found),
                "photo": shown,
            },
        }
        response = Response()
        response.status_code, response.url, response._content = 200, request.url, orjson.dumps(body)
        response.raw = _Body(response._content)
        return response

    def close(self):
        pass


class _Body:
    def __init__(self, data):
        self.data = data

    def read1(self, *_, **__):
        data, self.data = self.data, b""
        return data

    def close(self):
        pass

    release_conn = close


def photo(number, second, license_="4"):
    return {
        "id": str(number), "owner": "1@N01", "license": license_, "url_l": f"https://live.staticflickr.com/{number}_b.jpg",
        "dateupload": str(int(DAY.start.timestamp()) + second), "title": "t",
    }  # fmt: skip


def run(tmp_path, photos):
    fake = FakeFlickr(photos)
    parts = Parts(UPath(tmp_path), "flickr", datetime(2024, 2, 11, tzinfo=UTC), DAY)
    manifest = Pull(
        Flickr(), Client(transport=fake, throttle=NoThrottle()), parts, run_id="r", window=DAY
    ).run()
    lines = [
        line for path in parts.tsv_files("image", manifest.pages) for line in path.read_text().splitlines()
    ]
    return manifest.counts.get("image"), {line.split("\t")[0] for line in lines}, fake


def test_an_empty_day_is_one_request(tmp_path):
    counts, found, fake = run(tmp_path, [])
    assert (counts, found, len(fake.requests)) == (None, set(), 1)


def test_every_photo_of_a_quiet_day(tmp_path):
    photos = [photo(n, n * 30) for n in range(1700)]
    counts, found, _ = run(tmp_path, photos)
    assert found == {p["id"] for p in photos}
    assert counts.skipped == {REPEATED: PER_PAGE}  # page 0 and page 1


def test_busy_hours_are_cut_and_nothing_is_lost(tmp_path):
    photos = [photo(n, n % 3600) for n in range(9000)] + [
        photo(100_000 + n, 7200 + n % 3600) for n in range(100)
    ]
    _, found, fake = run(tmp_path, photos)
    assert found == {p["id"] for p in photos}
    spans = {int(r["max_upload_date"]) - int(r["min_upload_date"]) for r in fake.requests}
    assert spans == {86_400, 3600, 600}


def test_a_slice_that_announces_too_much_is_asked_for_license_by_license(tmp_path):
    """8 x 1500 photos within five minutes: more than 4 000 together, few enough for each license."""
    photos = [photo(n, n % 299, license_) for n, license_ in enumerate(list(LICENSES) * 1500)]
    counts, found, fake = run(tmp_path, photos)
    assert found == {p["id"] for p in photos}
    assert counts.written == len(photos)
    assert {r["license"] for r in fake.requests} == {*LICENSES, ",".join(LICENSES)}


def test_what_flickr_never_shows_ends_instead_of_repeating_for_ever(tmp_path):
    photos = [photo(n, n % 299) for n in range(6000)] + [photo(10_000 + n, 600 + n) for n in range(5000)]
    _, found, fake = run(tmp_path, photos)
    assert MAX_UNIQUE <= len([i for i in found if int(i) < 10_000]) <= 6000
    assert len(fake.requests) < 300


@pytest.mark.parametrize(
    ("code", "error"), [(100, Fatal), (105, Retry), (10, Retry), (None, Retry), (2, Fatal)]
)
def test_errors_with_status_200(code, error):
    from catalog.providers.flickr.provider import check

    with pytest.raises(error, match="Flickr answered"):
        check({"stat": "fail", "code": code, "message": "m"})
