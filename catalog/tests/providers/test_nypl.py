"""New York Public Library: statuses of responses, paginated captures, items whose details fail."""

import pytest

from catalog.core.errors import Retry, UnexpectedResponse
from catalog.core.jsontypes import JsonObject
from catalog.ingestion.records import Image
from catalog.providers.nypl.provider import Nypl, described, succeeded
from catalog.tests.providers.mapped import records_of
from catalog.tests.providers.site import Pulled, Site
from catalog.tests.values import present

DETAILS = "/item_details/"


def capture(n):
    link = {"$": f"http://images.nypl.org/index.php?id={n}&t=w&download=1", "description": "x .jpeg w"}
    return {
        "imageID": {"$": f"{n}"},
        "itemLink": {"$": f"http://digitalcollections.nypl.org/items/{n}"},
        "rightsStatementURI": {"$": "https://creativecommons.org/publicdomain/zero/1.0/"},
        "imageLinks": {"imageLink": [link]},
    }


def item(captures, number=None, status="success", **over):
    """The answer about an item. number: of captures that it announces."""
    response = {
        "headers": {"status": {"$": status}, "code": {"$": "200"}, "message": {"$": "ok"}},
        "mods": {"titleInfo": {"title": {"$": "T"}}},
        "sibling_captures": {"capture": captures},
        **({} if number is None else {"numResults": {"$": str(number)}}),
    }
    return {"nyplAPI": {"response": {**response, **over}}}


def library(details, uuids=("u1",), **headers):
    """A site with these items, described by `details(uuid, page)`; its last page has no list."""

    def answer(method, url, params):
        if DETAILS in url:
            return details(url.rpartition("/")[2], int(params.get("page", 1)))
        response: JsonObject = {"headers": {"status": "success", **headers}, "numResults": str(len(uuids))}
        if params["page"] == "1":
            response["result"] = [{"uuid": uuid} for uuid in uuids]
        return {"nyplAPI": {"response": response}}

    return Site(answer)


def test_all_is_asked_for_by_https(tmp_path):
    """A token travels with each request."""
    site = library(lambda uuid, page: item(capture(1), 1))
    assert Pulled(Nypl(), site, tmp_path).ids() == ["1"]
    assert all(url.startswith("https://") for url in site.urls())


def test_captures_come_in_pages(tmp_path):
    site = library(lambda uuid, page: item([capture(n) for n in range(25)][(page - 1) * 10 : page * 10], 25))
    pulled = Pulled(Nypl(), site, tmp_path)
    assert pulled.ids() == [str(n) for n in range(25)]
    assert pulled.whole


@pytest.mark.parametrize("pages", [1, 2])
def test_fewer_captures_than_announced_reject_the_item(pages, tmp_path):
    """Whether further pages are empty, or the first one comes again."""
    captures = [capture(n) for n in range(10)]
    site = library(lambda uuid, page: item(captures if page == 1 or pages == 1 else [], 25), ["u1", "u2"])
    pulled = Pulled(Nypl(), site, tmp_path)
    assert not pulled.ids()
    assert pulled.counts.rejected == {"details failed: UnexpectedResponse": 2}
    assert len(site.asked) == 2 + 2 * 2


@pytest.mark.parametrize(
    "fault",
    [
        (404, {}),
        (500, {}),
        item(None, status="error"),
        {},
        item([], mods=None),
        item(capture(2), 1, mods=None),
    ],
)
def test_details_that_fail_cost_that_item_only(fault, tmp_path):
    site = library(lambda uuid, page: fault if uuid == "u2" else item(capture(1), 1), ["u1", "u2"])
    pulled = Pulled(Nypl(), site, tmp_path)
    assert pulled.ids() == ["1"]
    assert sum(pulled.counts.rejected.values()) == 1
    assert next(iter(pulled.counts.rejected)).startswith(("details failed", "details away"))


def test_an_item_of_which_nothing_was_digitized(tmp_path):
    site = library(lambda uuid, page: item(capture(1), 1) if uuid == "u1" else item(None, 0), ["u1", "u2"])
    pulled = Pulled(Nypl(), site, tmp_path)
    assert pulled.counts.skipped == {"no captures": 1}
    assert pulled.whole


def test_captures_that_are_neither_there_nor_counted():
    with pytest.raises(UnexpectedResponse, match="neither captures nor `numResults`"):
        described(item(None))


def test_a_search_that_reports_an_error(tmp_path):
    site = library(lambda uuid, page: item(capture(1), 1), status="error", message="index is down")
    with pytest.raises(Retry, match=r"gave up after 4 attempts: the status is 'error': index is down"):
        Pulled(Nypl(), site, tmp_path)


@pytest.mark.parametrize("headers", [{"status": "success"}, {"status": {"$": "Success"}}, {}, None])
def test_a_status_is_plain_or_wrapped_or_not_there(headers):
    succeeded({"nyplAPI": {"response": {"headers": headers}}})


def test_a_search_that_loses_its_list_too_early(tmp_path):
    """Only past the end may the list be missing; that is held against the number of results."""
    site = Site(lambda *_: {"nyplAPI": {"response": {"headers": {"status": "success"}, "numResults": "7"}}})
    assert "0 of 7 announced items came" in present(Pulled(Nypl(), site, tmp_path).error)


def test_the_rendition_of_300_pixels_is_the_thumbnail():
    found = capture(1)
    found["imageLinks"]["imageLink"].append({"$": "http://images.nypl.org/index.php?id=1&t=r&download=1"})
    (image,) = records_of(Nypl().record({"uuid": "u1", "mods": {}, "captures": [found]}))
    assert isinstance(image, Image)
    assert (image.url, image.thumbnail) == (
        "http://images.nypl.org/index.php?id=1&t=w",
        "http://images.nypl.org/index.php?id=1&t=r",
    )
