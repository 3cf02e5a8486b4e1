"""Flickr's peculiarities: what it repeats, what it never shows, totals that are too high, errors in a 200."""

from collections import Counter
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from catalog.core.errors import Fatal, LoopDetected, NotWhole, Retry, UnexpectedResponse
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.records import Image
from catalog.ingestion.windows import Slicing, day_window
from catalog.providers.flickr import search
from catalog.providers.flickr.provider import Flickr
from catalog.providers.flickr.search import LICENSES, check
from catalog.tests.providers.fake_api import client
from catalog.tests.providers.mapped import record_of
from catalog.tests.values import present

DAY = day_window(date(2024, 2, 10))
START = int(DAY.start.timestamp())


class FakeFlickr:
    """Answers as Flickr does: page 0 is page 1, nothing new after 4,000, pages past the end repeat the last.

    hidden: identifiers of photos that are counted and take their place on a page, but are not shown.
    lies: called with each body before it is sent, and the parameters it answers.
    inclusive: whether `max_upload_date` is the last second or the one after it. Flickr documents the former.
    """

    def __init__(self, photos, hidden=(), lies=lambda body, params: body, inclusive=True):
        self.photos, self.hidden, self.lies, self.inclusive = photos, set(hidden), lies, inclusive
        self.requests = []

    def __call__(self, url, params):
        assert url == search.ENDPOINT
        self.requests.append(params)
        start, end = int(params["min_upload_date"]), int(params["max_upload_date"]) + self.inclusive
        found = [
            p
            for p in self.photos
            if start <= int(p["dateupload"]) < end and str(p["license"]) in params["license"].split(",")
        ]
        asked, pages = max(1, int(params["page"])), -(-len(found) // search.PER_PAGE)
        shown = min(asked, pages, search.MAX_UNIQUE // search.PER_PAGE)
        photos = found[max(0, shown - 1) * search.PER_PAGE :][: search.PER_PAGE]
        photos = [{**p, "views": str(len(self.requests))} for p in photos if p["id"] not in self.hidden]
        total = str(len(found)) if len(self.requests) % 2 else len(found)
        body = {"page": asked, "pages": pages, "perpage": search.PER_PAGE, "total": total, "photo": photos}
        return self.lies({"stat": "ok", "photos": body}, params)


def photo(number, second, license_="4"):
    return {
        "id": str(number),
        "owner": "1@N01",
        "license": license_,
        "url_l": f"https://live.staticflickr.com/{number}_b.jpg",
        "dateupload": str(START + second),
        "title": "t",
    }


def run(folder, fake):
    """The counts of a pull of the day, and how often each identifier was written."""
    parts = Parts(UPath(folder), "flickr", datetime(2024, 2, 11, tzinfo=UTC), DAY)
    pull = Pull(Flickr(), client(fake, retries=Flickr.retries), parts, run_id="r", window=DAY)
    try:
        manifest, error = pull.run(), None
    except NotWhole as not_whole:
        manifest, error = present(parts.load()), not_whole
    lines = [line for path in parts.tsv_files("image", manifest) for line in path.read_text().splitlines()]
    return manifest.counts.get("image"), Counter(line.split("\t")[0] for line in lines), error


def test_an_empty_day_is_confirmed_by_a_second_request(tmp_path):
    fake = FakeFlickr([])
    counts, found, error = run(tmp_path, fake)
    assert (counts.fetched, found, error) == (0, Counter(), None)
    assert len(fake.requests) == 4  # the count and its page, both twice


def test_an_hour_that_is_said_to_be_empty_is_looked_at_all_the_same(tmp_path):
    photos = [photo(n, n % 3600) for n in range(3100)] + [photo(10_000 + n, 7200 + n) for n in range(100)]
    told = set()

    def hiccup(body, params):
        """The hour from 02:00 is empty the first time that it is asked for."""
        asked = params["min_upload_date"], params["max_upload_date"]
        if asked == (str(START + 7200), str(START + 10_800)) and asked not in told:
            told.add(asked)
            body["photos"] |= {"photo": [], "total": 0, "pages": 0}
        return body

    _, found, error = run(tmp_path, FakeFlickr(photos, lies=hiccup))
    assert told
    assert found.keys() == {p["id"] for p in photos}
    assert error is None


def test_every_photo_of_a_quiet_day_once_although_its_first_page_comes_twice(tmp_path):
    """The views of its photos differ between page 0 and page 1."""
    photos = [photo(n, n * 30) for n in range(1700)]
    counts, found, error = run(tmp_path, FakeFlickr(photos))
    assert found == Counter(p["id"] for p in photos)
    assert counts.fetched == counts.written == len(photos)
    assert error is None


def test_a_slice_on_one_page_is_one_request(tmp_path):
    fake = FakeFlickr([photo(n, n) for n in range(search.PER_PAGE)])
    counts, _, error = run(tmp_path, fake)
    assert (counts.written, error) == (search.PER_PAGE, None)
    assert len(fake.requests) == 2  # the other one counts


def test_busy_hours_are_cut_and_nothing_is_lost(tmp_path):
    photos = [photo(n, n % 3600) for n in range(9000)]
    photos += [photo(100_000 + n, 7200 + n % 3600) for n in range(100)]
    fake = FakeFlickr(photos)
    _, found, error = run(tmp_path, fake)
    assert found.keys() == {p["id"] for p in photos}
    assert error is None
    spans = {int(r["max_upload_date"]) - int(r["min_upload_date"]) for r in fake.requests}
    assert spans == {86_400, 3600, 600}


def test_a_slice_that_announces_too_much_is_asked_for_license_by_license(tmp_path):
    """14 x 900 photos within five minutes: more than 4,000 together, few enough for each license."""
    photos = [photo(n, n % 299, license_) for n, license_ in enumerate(list(LICENSES) * 900)]
    fake = FakeFlickr(photos)
    _, found, error = run(tmp_path, fake)
    assert found == Counter(p["id"] for p in photos)
    assert error is None
    assert {r["license"] for r in fake.requests} == {*LICENSES, ",".join(LICENSES)}
    assert {"11", "12", "13", "14", "15", "16"} < LICENSES.keys()


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_license_with_too_many_photos_is_halved_until_it_is_given_out(tmp_path, inclusive):
    photos = [photo(n, n % 299) for n in range(9000)]
    fake = FakeFlickr(photos, inclusive=inclusive)
    _, found, error = run(tmp_path, fake)
    assert found.keys() == {p["id"] for p in photos}
    assert error is None
    assert {int(r["max_upload_date"]) - int(r["min_upload_date"]) for r in fake.requests} >= {150, 75}


def test_what_a_single_second_holds_beyond_4000_is_said(tmp_path):
    photos = [photo(n, 77) for n in range(5000)] + [photo(10_000 + n, 600 + n) for n in range(500)]
    fake = FakeFlickr(photos)
    _, found, error = run(tmp_path, fake)
    assert len([i for i in found if int(i) < 10_000]) == search.MAX_UNIQUE
    assert {str(10_000 + n) for n in range(500)} < found.keys()  # the rest of the day was read
    assert f"5,000 photos under license 4 uploaded from {START + 76} to {START + 77}" in str(error)
    assert "but returns only 4,000" in str(error)
    assert "announced items came" not in str(error)  # said once
    assert len(fake.requests) < 300


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 86_399), st.integers(30, 33), st.integers(3600, 3900)),
            st.sampled_from(["4", "9", "12"]),
            st.integers(1, 30),
        ),
        max_size=12,
    )
)
def test_no_photo_is_lost_without_a_word(clusters):
    """With limits a hundred times smaller than Flickr's: everything comes, or a second holds too much."""
    photos = [
        photo(f"{n}-{m}", second, license_)
        for n, (second, license_, many) in enumerate(clusters)
        for m in range(many)
    ]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(search, "MAX_UNIQUE", 40)
        patch.setattr(search, "PER_PAGE", 5)
        patch.setattr(Flickr, "slicing", Slicing(30, 100, 6, 12))
        _, found, error = run(Path(folder), FakeFlickr(photos))
    if error is None:
        assert found.keys() == {p["id"] for p in photos}
    else:
        seconds = Counter((p["dateupload"], p["license"]) for p in photos)
        at_once = max(
            number + seconds[str(int(at) + 1), license_] for (at, license_), number in seconds.items()
        )
        assert at_once > 40
        assert "but returns only 40" in str(error)


# Totals


@pytest.mark.parametrize(
    ("photos", "hidden", "whole"),
    [(1, 1, True), (9, 3, True), (1700, 17, True), (9, 4, False), (1700, 18, False), (2900, 261, False)],
)
def test_a_total_may_count_a_few_photos_that_no_page_shows(tmp_path, photos, hidden, whole):
    taken = [photo(n, n * 20) for n in range(photos)]
    step = max(1, photos // hidden)
    fake = FakeFlickr(taken, hidden=[str(n * step) for n in range(hidden)])
    _, found, error = run(tmp_path, fake)
    assert len(found) == photos - hidden
    assert (error is None) == whole
    if not whole:
        assert f"{photos - hidden:,} of {photos:,} announced items came" in str(error)


def test_photos_that_are_deleted_while_a_slice_is_read_hide_no_other(tmp_path):
    photos, number = [photo(n, n * 20) for n in range(2900)], count(1)
    fake = FakeFlickr(photos)

    def answer(url, params):
        if next(number) == 6:  # page 4
            del fake.photos[100:128]
        return fake(url, params)

    _, found, error = run(tmp_path, answer)
    assert error is None
    assert found == Counter(str(n) for n in range(2900))  # also those that were deleted later
    assert len(fake.requests) <= 13


@pytest.mark.parametrize(("times", "whole"), [(1, True), (1000, False)])
def test_a_page_that_lacks_a_tenth_of_its_photos_is_asked_for_again_and_reported(tmp_path, times, whole):
    """Also while the total falls, so that what came may seem to be enough."""
    number = count(1)

    def lie(body, params):
        if params["page"] == "3" and next(number) <= times:
            body["photos"]["photo"] = body["photos"]["photo"][:440]
        return body

    photos = [photo(n, n * 20) for n in range(2900)]
    _, found, error = run(tmp_path, FakeFlickr(photos, lies=lie))
    assert len(found) == (2900 if whole else 2840)
    assert (error is None) == whole
    if not whole:
        assert "page 3 of 6 holds 440 photos instead of 500" in str(error)


def without_photos(page, times):
    """The page is empty that many times it is asked for."""
    left = [times]

    def lie(body, params):
        if params["page"] == str(page) and left[0]:
            left[0] -= 1
            body["photos"]["photo"] = []
        return body

    return lie


@pytest.mark.parametrize("page", [0, 1, 2])
def test_an_empty_page_among_others_is_asked_for_again(tmp_path, page):
    photos = [photo(n, n * 30) for n in range(1700)]
    _, found, error = run(tmp_path, FakeFlickr(photos, lies=without_photos(page, 2)))
    assert found.keys() == {p["id"] for p in photos}
    assert error is None


def test_an_only_page_that_is_empty_is_asked_for_again(tmp_path):
    photos = [photo(n, n) for n in range(9)]
    _, found, error = run(tmp_path, FakeFlickr(photos, lies=without_photos(0, 2)))
    assert found.keys() == {p["id"] for p in photos}
    assert error is None


def test_a_page_that_stays_empty_is_an_error(tmp_path):
    fake = FakeFlickr([photo(n, n * 30) for n in range(1700)], lies=without_photos(2, 1000))
    with pytest.raises(Retry, match="page 2 of 4 is empty, but 1,700 photos were announced"):
        run(tmp_path, fake)


def test_another_page_than_the_one_asked_for_is_asked_for_again(tmp_path):
    photos = [photo(n, n * 30) for n in range(1700)]
    fake, wrong = FakeFlickr(photos), ["1", "1"]

    def mixed_up(url, params):
        """Page 3 is page 1 the first two times."""
        return fake(url, {**params, "page": wrong.pop()} if params["page"] == "3" and wrong else params)

    _, found, error = run(tmp_path, mixed_up)
    assert found == Counter(p["id"] for p in photos)
    assert (wrong, error) == ([], None)


def test_the_same_page_for_ever_is_a_loop(tmp_path):
    fake = FakeFlickr([photo(n, n * 30) for n in range(1700)])
    with pytest.raises(LoopDetected, match="for page 2 of 4, Flickr sent page 1 again"):
        run(tmp_path, lambda url, params: fake(url, {**params, "page": "1"}))


# Answers


@pytest.mark.parametrize("code", [1, 2, 3, 9, 100, 111, 112, 116, "100"])
def test_permanent_errors(code):
    with pytest.raises(Fatal, match=f"Flickr answered stat fail, code {code}.*'m'"):
        check({"stat": "fail", "code": code, "message": "m"})


@pytest.mark.parametrize("code", [0, 10, 105, 106, 201, "201", 5000, "new", None, [], True])
def test_temporary_and_unknown_errors(code):
    with pytest.raises(UnexpectedResponse, match="Flickr answered stat fail"):
        check({"stat": "fail", "code": code, "message": "m"})


@pytest.mark.parametrize("body", [{}, [], None, {"photos": {"photo": []}}, {"stat": "fail"}])
def test_what_is_no_answer_of_flickr(body):
    with pytest.raises(UnexpectedResponse):
        check(body)


@pytest.mark.parametrize("at", range(4))
def test_a_service_that_is_not_available_is_asked_again(tmp_path, at):
    photos, number = [photo(n, n * 30) for n in range(1100)], iter(range(1000))
    unavailable = {
        "stat": "fail",
        "code": "201",
        "message": "Sorry, the Flickr API service is not currently available.",
    }
    fake = FakeFlickr(photos, lies=lambda body, _: unavailable if next(number) == at else body)
    _, found, error = run(tmp_path, fake)
    assert found.keys() == {p["id"] for p in photos}
    assert error is None


@pytest.mark.parametrize("key", ["photo", "total", "page", "pages"])
def test_an_answer_that_lacks_something_is_an_error(tmp_path, key):
    def lie(body, params):
        body["photos"].pop(key)
        return body

    with pytest.raises(Retry, match=rf"gave up after {Flickr.retries + 1} attempts: `photos\.{key}`"):
        run(tmp_path, FakeFlickr([photo(1, 1)], lies=lie))


@pytest.mark.parametrize(
    ("given", "slug", "version"),
    [
        ("4", "by", "2.0"),
        (9, "cc0", "1.0"),
        ("10", "pdm", "1.0"),
        (11, "by", "4.0"),
        ("12", "by-sa", "4.0"),
        (13, "by-nd", "4.0"),
        ("14", "by-nc", "4.0"),
        ("15", "by-nc-sa", "4.0"),
        (16, "by-nc-nd", "4.0"),
    ],
)
def test_licenses_come_as_text_or_number(given, slug, version):
    license_ = present(record_of(Image, Flickr().record(photo(1, 1, given))).license)
    assert (license_.slug, license_.version) == (slug, version)
