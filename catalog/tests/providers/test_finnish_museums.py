"""Finna: windows to the second, responses with status ERROR, missing lists, required counts."""

import re
from collections import Counter
from datetime import date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from catalog.core.errors import Retry, UnexpectedResponse
from catalog.ingestion.records import Image, Skip
from catalog.ingestion.windows import Slicing, day_window
from catalog.providers.finnish_museums.provider import BUILDINGS, FinnishMuseums, check, filters
from catalog.tests.providers.mapped import records_of
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present

DAY = day_window(date(2024, 2, 10))


def view(n):
    return {
        "id": f"x.{n}",
        "title": f"T{n}",
        "imageRights": {"link": "http://creativecommons.org/licenses/by/4.0/deed.fi"},
        "images": [f"/Cover/Show?id=x.{n}&index=0&size=large"],
    }


class Finna(Site):
    """The platform's search, which omits `records` if there are none; `lost` records are never returned.

    All records of the window are of one institution; the others have records of earlier days, except those
    that are `unknown`.
    """

    def __init__(self, records, lost=0, unknown=()):
        super().__init__(None)
        self.records, self.lost = records, lost
        self.unknown = [f'building:"{building}"' for building in unknown]

    def send(self, request, *args, **more):
        filters = parse_qs(urlsplit(request.url).query)["filter[]"]
        own = self.records if 'building:"0/SA-kuva/"' in filters else []
        if len(filters) == 2 and filters[1] not in self.unknown:  # at any time
            own = [view(n) for n in range(300)]
        self.answer = lambda method, url, params: self.page(own, int(params["page"]))
        return super().send(request, *args, **more)

    def page(self, own, number):
        shown = own[: len(own) - self.lost][(number - 1) * 100 : number * 100]
        return {"resultCount": len(own), "status": "OK", **({"records": shown} if shown else {})}


def test_a_day_without_records_in_three_of_four_buildings(tmp_path):
    site = Finna([view(n) for n in range(150)])
    pulled = Pulled(FinnishMuseums(), site, tmp_path, window=DAY)
    assert len(pulled.ids()) == 150
    assert pulled.whole
    empty = len(BUILDINGS) - 1
    counts = len(BUILDINGS) + empty  # a count of 0 is requested again
    assert len(site.asked) == counts + 3 + 2 * empty + counts + empty


class Busy(Finna):
    """150 records over the day. The searches of some hours find nothing, `wrong` times each."""

    def __init__(self, wrong):
        super().__init__([])
        self.wrong, self.answered = wrong, Counter[datetime]()

    def send(self, request, *args, **more):
        times = re.search(r"\[(\S+) TO (\S+)\]", parse_qs(urlsplit(request.url).query)["filter[]"][-1])
        if times:
            start, end = map(datetime.fromisoformat, times.groups())
            of_day = [(DAY.start + timedelta(minutes=9 * n), view(n)) for n in range(150)]
            self.records = [found for at, found in of_day if start <= at <= end]
            self.answered[start] += 1
            if start.hour in (9, 10, 11) and self.answered[start] <= self.wrong:
                self.records = []
        return super().send(request, *args, **more)


def test_a_count_of_0_drops_no_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(FinnishMuseums, "slicing", Slicing(100, 1000))
    pulled = Pulled(FinnishMuseums(), Busy(wrong=1), tmp_path, window=DAY)
    assert pulled.whole
    assert len(pulled.ids()) == 150


def test_the_hours_are_compared_with_the_day(tmp_path, monkeypatch):
    monkeypatch.setattr(FinnishMuseums, "slicing", Slicing(100, 1000))
    pulled = Pulled(FinnishMuseums(), Busy(wrong=9), tmp_path, window=DAY)
    assert "the parts by time hold 130 items, the collection 150" in present(pulled.error)


def test_an_institution_that_is_renamed_is_no_quiet_day(tmp_path):
    site = Finna([view(n) for n in range(150)], unknown=["0/SATMUSEO/"])
    pulled = Pulled(FinnishMuseums(), site, tmp_path, window=DAY)
    assert len(pulled.ids()) == 150
    assert "no images of 0/SATMUSEO/: was an institution renamed?" in present(pulled.error)


def test_an_institution_that_is_renamed_on_a_day_without_records(tmp_path):
    pulled = Pulled(FinnishMuseums(), Finna([], unknown=["0/SATMUSEO/"]), tmp_path, window=DAY)
    assert "no images of 0/SATMUSEO/" in present(pulled.error)
    assert Pulled(FinnishMuseums(), Finna([]), tmp_path / "quiet", window=DAY).whole


def test_fewer_records_than_a_slice_announces(tmp_path):
    pulled = Pulled(FinnishMuseums(), Finna([view(n) for n in range(150)], lost=60), tmp_path, window=DAY)
    assert "90 of 150 announced items came" in present(pulled.error)


def test_the_end_of_the_day_before_is_asked_for_again(tmp_path):
    """It may not have been in the index when that day was pulled. The pull is the day's all the same."""
    site = Finna([view(n) for n in range(150)])
    pulled = Pulled(FinnishMuseums(), site, tmp_path, window=DAY)
    asked = {one for _, _, params, _ in site.asked if "last_indexed" in (one := params["filter[]"])}
    assert asked == {'last_indexed:"[2024-02-09T18:00:00Z TO 2024-02-10T23:59:59Z]"'}
    assert pulled.manifest.window == (DAY.start, DAY.end)


def test_seconds_belong_to_one_window():
    first = filters("0/SA-kuva/", DAY)
    assert first[2] == 'last_indexed:"[2024-02-10T00:00:00Z TO 2024-02-10T23:59:59Z]"'


def test_a_second_image_has_an_identifier_of_its_own():
    raw = {**view(1), "images": ["/a?index=0", "", "/a?index=2"]}
    first, empty, third = records_of(FinnishMuseums().record(raw))
    assert isinstance(first, Image)
    assert isinstance(third, Image)
    assert (first.foreign_identifier, third.foreign_identifier) == ("x.1", "x.1#2")
    assert empty == Skip("no image")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "ERROR", "statusMessage": "Error occurred.", "resultCount": 0},
        {"resultCount": 3, "records": []},
        {"status": "OK", "records": []},
        {"status": "OK", "resultCount": "many"},
        [],
        None,
    ],
)
def test_an_answer_says_that_it_is_in_order_and_how_much_there_is(body):
    with pytest.raises(UnexpectedResponse):
        check(body)


@pytest.mark.parametrize("body", [{"status": "ERROR", "statusMessage": "Error occurred."}, {"status": "OK"}])
def test_a_count_that_fails_is_no_empty_day(body, tmp_path):
    with pytest.raises(Retry, match="gave up after 4 attempts"):
        Pulled(FinnishMuseums(), Site(lambda *_: body), tmp_path, window=DAY)
