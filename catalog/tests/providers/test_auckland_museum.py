"""Auckland Museum: a search by POST that shows 10,000 records, divided by the time of their last change."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from catalog.core.errors import UnexpectedResponse
from catalog.ingestion.windows import day_window
from catalog.provider_api import Image, Skip
from catalog.providers.auckland_museum.provider import FIRST, AucklandMuseum
from catalog.tests.providers.mapped import record_of
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present

LICENSED = ["© Auckland Museum CC BY"]


def record(number, copyright_=LICENSED, department="naturalsciences", **source):
    return {
        "_id": f"http://api.aucklandmuseum.com/id/{department}/object/{number}",
        "_source": {
            "copyright": copyright_,
            "primaryRepresentation": f"http://api.aucklandmuseum.com/id/media/v/{number}",
            **source,
        },
    }


class Museum(Site):
    """A search over records and the times of their last change, None for some; refuses what ES refuses."""

    def __init__(self, times, size=1000):
        super().__init__(None)
        self.records = [(at, record(n)) for n, at in enumerate(times)]
        self.counts, self.size = 0, size

    def send(self, request, *_, **__):
        assert request.method == "POST"
        clauses = orjson.loads(request.body)["query"]["bool"]
        limits = (clauses.get("must_not") or clauses["must"][1])["range"]["lastModifiedOn"]
        start, end = (
            datetime.fromisoformat(limits.get(key, "9999-12-31")).replace(tzinfo=UTC) for key in ("gte", "lt")
        )
        outside = "must_not" in clauses
        found = [r for at, r in self.records if (at is not None and start <= at < end) is not outside]

        def answer(method, url, params):
            size, at = int(params["size"]), int(params.get("from", 0))
            self.counts += size == 0
            if at + size > 10_000:
                return 400, {"error": "Result window is too large"}
            hits = {"total": len(found), "hits": found[at : at + min(size, self.size)]}
            return {"timed_out": False, "_shards": {"failed": 0}, "hits": hits}

        self.answer = answer
        return super().send(request)


def test_more_records_than_a_search_shows_are_divided_and_none_is_lost(tmp_path):
    """Among them many of one minute, and some without a time or from before the divided times."""
    busy = datetime(2021, 3, 4, 5, 6, tzinfo=UTC)
    times = [busy + timedelta(milliseconds=5 * n) for n in range(12_000)]
    times += [datetime(2010 + n % 12, 1, 1, tzinfo=UTC) for n in range(3_000)]
    others = [None, FIRST - timedelta(days=1)]
    pulled = Pulled(AucklandMuseum(), museum := Museum([*times, *others]), tmp_path)
    assert pulled.whole
    assert len(set(pulled.ids())) == len(pulled.rows) == 15_002
    assert museum.counts < 80, "1,000 requests a day are allowed"


def test_more_records_of_one_second_than_are_shown_are_reported(tmp_path):
    second = datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC)
    times = [second + timedelta(microseconds=n) for n in range(10_500)] + [second + timedelta(days=400)]
    pulled = Pulled(AucklandMuseum(), Museum(times), tmp_path)
    assert "10,000 of 10,500 announced items came" in present(pulled.error)
    assert not pulled.manifest.complete
    assert len(pulled.rows) == 10_001, "what follows is read nevertheless"


@pytest.mark.parametrize("since", [None, datetime(2020, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("hours", [0, 13, 48])
def test_a_record_that_changes_during_the_pull_is_read(tmp_path, monkeypatch, since, hours):
    """Before its part is searched, in a part that was empty until then, in any time zone and after days."""

    class Edited(Museum):
        def send(self, request, *_, **__):
            if b'"from"' not in (request.body or b"") and "from=0" in request.url and not self.edited:
                self.edited = True
                self.records[0] = (datetime.now(UTC) + timedelta(hours=hours), self.records[0][1])
            return super().send(request)

        edited = False

    monkeypatch.setattr("catalog.providers.auckland_museum.provider.MAX_SHOWN", 1500)
    times = [datetime(2021, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(3000)]
    museum = Edited([*times, None])
    pulled = Pulled(AucklandMuseum(), museum, tmp_path, window=day_window(since.date()) if since else None)
    assert museum.edited
    assert len(set(pulled.ids())) == len(times) + (since is None)


class Forgetful(Museum):
    """The first part of the divided time finds nothing, `wrong` times."""

    def __init__(self, times, wrong):
        super().__init__(times)
        self.wrong, self.part = wrong, None

    def send(self, request, *_, **__):
        must = orjson.loads(request.body)["query"]["bool"]["must"]
        if "lt" in (times := must[1]["range"]["lastModifiedOn"] if len(must) > 1 else {}):
            self.part = self.part or times
            if times == self.part and self.wrong:
                self.wrong -= 1
                nothing = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": 0, "hits": []}}
                self.answer = lambda *_: nothing
                return Site.send(self, request)
        return super().send(request)


def test_a_part_that_counts_0_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.providers.auckland_museum.provider.MAX_SHOWN", 2500)
    times = [FIRST + timedelta(days=3 * n) for n in range(3000)]
    pulled = Pulled(AucklandMuseum(), Forgetful(times, wrong=1), tmp_path)
    assert pulled.whole
    assert len(pulled.ids()) == 3000


def test_a_part_that_finds_nothing_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.providers.auckland_museum.provider.MAX_SHOWN", 2500)
    times = [FIRST + timedelta(days=3 * n) for n in range(3000)]
    pulled = Pulled(AucklandMuseum(), Forgetful(times, wrong=9), tmp_path)
    assert "items, the collection 3,000" in present(pulled.error)


def test_since_a_day_only_what_was_changed_is_searched(tmp_path):
    day = datetime(2024, 2, 10, 12, tzinfo=UTC)
    times: list[datetime | None] = [day, day - timedelta(days=1), None]
    museum = Museum(times)
    pulled = Pulled(AucklandMuseum(), museum, tmp_path, window=day_window(day.date()))
    assert pulled.ids() == ["naturalsciences/object/0"]


@pytest.mark.parametrize("lie", [{"timed_out": True}, {"_shards": {"failed": 1}}, {"_shards": None}])
def test_a_search_of_a_part_of_the_index_is_no_answer(lie, tmp_path):
    whole = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": 0, "hits": []}}
    with pytest.raises(UnexpectedResponse, match="the search is incomplete"):
        Pulled(AucklandMuseum(), Site(lambda *_: {**whole, **lie}), tmp_path)


def test_a_total_that_newer_versions_of_the_search_engine_cap_is_refused(tmp_path):
    hits = {"total": {"value": 10_000, "relation": "gte"}, "hits": []}
    body = {"timed_out": False, "_shards": {"failed": 0}, "hits": hits}
    with pytest.raises(
        UnexpectedResponse, match=r"`hits\.total` should be a number of items but is of type dict"
    ):
        Pulled(AucklandMuseum(), Site(lambda *_: body), tmp_path)


def test_numbers_that_departments_share_are_different_identifiers():
    found = [record_of(Image, AucklandMuseum().record(record(1, department=d))) for d in ("a", "b")]
    assert [image.foreign_identifier for image in found] == ["a/object/1", "b/object/1"]
    assert str(found[1].foreign_landing_url).endswith("/record/am_b-object-1")


@pytest.mark.parametrize(
    ("copyright_", "expected"),
    [
        (LICENSED, ("by", "4.0")),
        ("© Auckland Museum CC BY", ("by", "4.0")),
        ("© Auckland Museum CC-BY-NC 3.0", ("by-nc", "3.0")),
        (["© Auckland Museum CC BY", "CC BY 4.0"], ("by", "4.0")),
    ],
)
def test_the_license_is_read_from_the_record(copyright_, expected):
    license_ = present(record_of(Image, AucklandMuseum().record(record(1, copyright_))).license)
    assert (license_.slug, license_.version) == expected


@pytest.mark.parametrize(
    "copyright_",
    [
        *(None, "", [], 7, "All Rights Reserved", "© Auckland Museum", "No known copyright restrictions"),
        *(["CC BY", "CC BY-NC"], ["CC BY", "All Rights Reserved"], "CC BY for members only", "ACC BY"),
    ],
)
def test_a_record_without_a_license_is_skipped(copyright_):
    found = record_of(Skip, AucklandMuseum().record(record(1, copyright_)))
    assert found.reason == "no Creative Commons license"
