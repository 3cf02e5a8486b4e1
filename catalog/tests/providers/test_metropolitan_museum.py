"""The Met's peculiarities: one list for all, single requests for objects, a firewall, a leaking host."""

import contextlib
from datetime import UTC, date, datetime, timedelta

import pytest
from upath import UPath

from catalog.core.errors import DetailsAway, Retry
from catalog.core.jsontypes import JsonObject
from catalog.ingestion.client import Client
from catalog.ingestion.completeness import Outcome, unusual
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.records import Skip
from catalog.ingestion.windows import day_window
from catalog.providers.metropolitan_museum.objects import OBJECTS
from catalog.providers.metropolitan_museum.provider import MetropolitanMuseum
from catalog.tests.providers.fake_api import FakeApi, client, walk
from catalog.tests.providers.mapped import record_of
from catalog.tests.values import present

DAY = day_window(date(2024, 2, 10))
IMAGES = "https://images.metmuseum.org/CRDImages/mu"


def thing(number, **more):
    """An answer about an object with one image."""
    return {
        "objectID": number,
        "isPublicDomain": True,
        "primaryImage": f"{IMAGES}/original/{number}.jpg",
        "primaryImageSmall": f"{IMAGES}/web-large/{number}.jpg",
        "additionalImages": [],
        "objectURL": f"https://www.metmuseum.org/art/collection/search/{number}",
        "title": "Bowl",
        "artistDisplayName": "Mia Maker",
        "artistWikidata_URL": "https://www.wikidata.org/wiki/Q1",
        "artistULAN_URL": "http://vocab.getty.edu/page/ulan/1",
        "tags": None,
    } | more


def listing(*numbers, **more):
    return {"total": len(numbers), "objectIDs": list(numbers)} | more


def museum(listed, **objects):
    """An API with this list; objects: answers about single ones, by `n<number>`."""

    def answer(url, params):
        if url == OBJECTS:
            return listed
        number = int(url.rpartition("/")[2])
        return objects.get(f"n{number}", thing(number))

    return answer


def pull(folder, api, **more):
    """The identifiers written, and the counts."""
    parts = Parts(UPath(folder), "metropolitan_museum", datetime(2024, 2, 11, tzinfo=UTC), DAY)
    asker = client(api, **more) if callable(api) else api
    pulled = Pull(MetropolitanMuseum(), asker, parts, run_id="r", window=DAY)
    with contextlib.suppress(DetailsAway):
        pulled.run()
    manifest = present(parts.load())
    lines = [line for path in parts.tsv_files("image", manifest) for line in path.read_text().splitlines()]
    return [line.split("\t")[0] for line in lines], manifest.counts["image"]


# The list


def test_a_list_that_is_said_to_be_empty_is_asked_for_again(tmp_path):
    lists = iter([{"total": 0, "objectIDs": None}, listing(7)])
    assert pull(tmp_path, lambda url, _: next(lists) if url == OBJECTS else thing(7))[0] == ["7-7"]
    assert pull(tmp_path / "empty", museum({"total": 0, "objectIDs": None}))[0] == []


def test_the_list_is_read_in_pages_and_again_after_a_stop():
    api = client(museum(listing(*range(250, 0, -1))))
    items, pages = walk(MetropolitanMuseum(), api, window=DAY)
    assert [i["objectID"] for i in items] == list(range(1, 251))
    assert [len(p.items) for p in pages] == [100, 100, 50]
    assert {p.total for p in pages} == {250}
    assert [u for u, _ in api._sender.transport.requests].count(OBJECTS) == 1
    resumed = MetropolitanMuseum().pages.fetch(api, pages[0].next, {"metadataDate": "2024-02-10"})
    assert [i["objectID"] for i in resumed.items] == list(range(101, 201))


def test_on_some_days_nothing_changes(tmp_path):
    assert pull(tmp_path, museum({"total": 0, "objectIDs": None}))[0] == []


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (listing(1, 2, total=3), "`total` is 3, but `objectIDs` holds 2"),
        (listing(1, 2, total=1), "`total` is 1, but `objectIDs` holds 2"),
        ({"total": 3, "objectIDs": None}, "`total` is 3, but `objectIDs` holds 0"),
        ({"total": 0}, "`objectIDs` is missing"),
        ({"objectIDs": [1]}, "`total` is missing; the response has `objectIDs`"),
        (listing(1, objectIDs={"1": 1}), "`objectIDs` is of type dict"),
        ({"message": "moved"}, "the response has `message`"),
        ([], "the response is a list"),
    ],
)
def test_a_list_that_is_not_whole_is_asked_for_again(tmp_path, listed, message):
    with pytest.raises(Retry, match=f"gave up after 4 attempts: .*{message}"):
        pull(tmp_path, museum(listed))
    answers = iter((listed, listing(1)))
    found, _ = pull(tmp_path, lambda url, _: next(answers) if url == OBJECTS else thing(1))
    assert found == ["1-1"]


def test_an_identifier_that_is_no_number_is_a_reject(tmp_path):
    """Of a list on two pages, and once."""
    numbers = range(2, 152)
    found, counts = pull(tmp_path, museum(listing("12a", *numbers, None, True)))
    assert found == [f"{n}-{n}" for n in numbers]
    assert sum(counts.rejected.values()) == 3
    assert {reason.partition(" (")[0] for reason in counts.rejected} == {
        "details failed: ValueError: the identifier '12a' is not a number",
        "details failed: ValueError: the identifier 'None' is not a number",
        "details failed: ValueError: the identifier 'True' is not a number",
    }


# The objects


@pytest.mark.parametrize("status", [404, 410])
def test_an_object_that_is_gone_is_a_skip(tmp_path, status):
    found, counts = pull(tmp_path, museum(listing(1, 2, 3), n2=(status, {"message": "Not a valid object"})))
    assert found == ["1-1", "3-3"]
    assert counts.skipped == {"no such object": 1}


def test_most_objects_gone_is_an_alarm():
    """Without an earlier pull to compare with, too."""
    skip = record_of(Skip, MetropolitanMuseum().record({"objectID": 1, "gone": True}))
    now = Outcome(fetched=10, kept=0, skipped={skip.reason: 10}, rejected=0)
    assert "10 of 10 items were skipped as “no such object”" in str(
        unusual(now, [], MetropolitanMuseum.expectations())
    )


@pytest.mark.parametrize(
    "answer",
    [
        (500, {"message": "Internal Server Error"}),
        (403, {"message": "Forbidden"}),
        {"message": "Not a valid object"},
        {},
        [],
        thing(3),
        thing(2, isPublicDomain=None),
        thing(2, additionalImages=None),
        *(
            {k: v for k, v in thing(2).items() if k != key}
            for key in ("objectID", "isPublicDomain", "primaryImage", "objectURL", "additionalImages")
        ),
    ],
)
def test_an_object_that_is_not_answered_well_costs_itself(tmp_path, answer):
    found, counts = pull(tmp_path, museum(listing(1, 2, 3), n2=answer))
    assert found == ["1-1", "3-3"]
    assert counts.skipped == {}
    assert sum(counts.rejected.values()) == 1
    assert next(iter(counts.rejected)).startswith(("details failed", "details away"))


def test_five_in_a_row_are_the_api(tmp_path):
    objects: dict[str, tuple[int, JsonObject]] = {f"n{number}": (500, {}) for number in range(3, 20)}
    with pytest.raises(Retry, match="status 500"):
        pull(tmp_path, museum(listing(*range(1, 20)), **objects))


class Firewalled(FakeApi):
    """An API behind a firewall that answers 403 in HTML to the requests of those numbers."""

    def __init__(self, answer, blocked):
        super().__init__(answer)
        self.blocked = blocked

    def send(self, request, *args, **more):
        response = super().send(request, *args, **more)
        if len(self.requests) - 1 in self.blocked:
            response.status_code, response._content = 403, b"<html><head><title>Pardon our interruption"
            response.headers["content-type"] = "text/html"
        return response


@pytest.mark.parametrize("blocked", [[0], [1], [2, 3], [1, 2, 3, 4, 5]])
def test_a_firewall_is_waited_for(tmp_path, monkeypatch, blocked):
    monkeypatch.setattr(MetropolitanMuseum, "concurrency", 1)
    waits: list[float] = []
    asker = Client(
        transport=Firewalled(museum(listing(1, 2)), blocked),
        throttle=NoThrottle(),
        retries=MetropolitanMuseum.retries,
        blocking_statuses=MetropolitanMuseum.blocking_statuses,
        sleep=waits.append,
    )
    assert pull(tmp_path, asker)[0] == ["1-1", "2-2"]
    assert waits == [60] * len(blocked)


def test_one_request_a_second_and_two_at_a_time():
    assert MetropolitanMuseum.rate.interval >= 1
    assert MetropolitanMuseum.concurrency <= 2


# The records


def record(**more):
    return MetropolitanMuseum().record(thing(1, **more))


def test_the_address_of_a_staging_host_is_made_the_public_one():
    page = "metmuseum.org/art/collection/search/1"
    assert record(objectURL=f"https://wwwstg.{page}")[0].foreign_landing_url == f"https://www.{page}"
    assert record(objectURL=f"https://www.{page}")[0].foreign_landing_url == f"https://www.{page}"


def test_the_small_image_is_the_thumbnail_of_the_primary_one():
    images = record(additionalImages=[f"{IMAGES}/original/2.jpg", ""])
    assert [i.foreign_identifier for i in images] == ["1-1", "1-2"]
    assert [i.thumbnail for i in images] == [f"{IMAGES}/web-large/1.jpg", None]
    assert record(primaryImageSmall="")[0].thumbnail is None


@pytest.mark.parametrize(
    ("given", "creator", "url"),
    [
        ({}, "Mia Maker", "https://www.wikidata.org/wiki/Q1"),
        ({"artistWikidata_URL": ""}, "Mia Maker", "http://vocab.getty.edu/page/ulan/1"),
        ({"artistWikidata_URL": "", "artistULAN_URL": ""}, "Mia Maker", None),
        ({"artistDisplayName": ""}, None, None),
    ],
)
def test_creators_have_an_address(given, creator, url):
    image = record(**given)[0]
    assert (image.creator, image.creator_url) == (creator, url)


def test_what_is_no_image_to_keep():
    assert record(isPublicDomain=False) == Skip("not in the public domain")
    assert record(primaryImage="", additionalImages=[""]) == Skip("no image")
    assert record(objectURL="") == Skip("no landing URL")


def test_of_a_day_far_back_only_what_changed_then_is_read():
    """Its list holds most of the collection, and so does the next day's: what differs is of the day."""
    lists = {"2024-02-10": range(1, 5001), "2024-02-11": range(3, 4999)}

    def answer(url, params):
        return (
            listing(*lists[params["metadataDate"]]) if url == OBJECTS else thing(int(url.rpartition("/")[2]))
        )

    items, pages = walk(MetropolitanMuseum(), client(answer), window=DAY)
    assert [item["objectID"] for item in items] == [1, 2, 4999, 5000]
    assert pages[0].total == 4


def test_a_later_list_that_is_longer_is_not_believed():
    lists = {"2024-02-10": range(1, 2002), "2024-02-11": range(1, 2100)}
    api = client(lambda url, params: listing(*lists[params["metadataDate"]]))
    with pytest.raises(Retry, match="more objects \\(2,099\\) changed since 2024-02-11"):
        walk(MetropolitanMuseum(), api, window=DAY)


def test_a_list_that_ignores_the_day_proves_no_empty_day(tmp_path):
    """All days have the same list, so nothing seems to have changed on any."""
    with pytest.raises(
        Retry, match="`metadataDate` is ignored: 3,000 objects are said to have changed since"
    ):
        pull(tmp_path, museum(listing(*range(3000))))


def test_a_day_far_back_on_which_nothing_changed(tmp_path):
    future = f"{datetime.now(UTC).date() + timedelta(days=1)}"

    def answer(url, params):
        return listing(*range(3000)) if params["metadataDate"] <= future else {"total": 0, "objectIDs": None}

    assert pull(tmp_path, answer)[0] == []
