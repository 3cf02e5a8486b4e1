"""The audit of the Flickr Commons over an API in memory."""

import pytest

from catalog.core.errors import Fatal, Retry
from catalog.notifications.alerts import flickr_suggestions
from catalog.providers.flickr.audit import ENDPOINT, EXCLUDED, Suggestion, suggestions
from catalog.providers.flickr.provider import SOURCES
from catalog.providers.flickr.search import LICENSES
from catalog.tests.providers.fake_api import client

PHOTOS = {"1@N00": 22, "2@N00": 21, "3@N00": 1000}  # photos under each of the 14 licenses


def flickr(institutions):
    def answer(url, params):
        assert url == ENDPOINT
        if params["method"] == "flickr.commons.getInstitutions":
            return {"stat": "ok", "institutions": institutions}
        assert params["license"] in LICENSES
        assert (params["media"], params["safe_search"]) == ("photos", "1")
        total = PHOTOS[params["user_id"]]
        return {"stat": "ok", "photos": {"total": total if params["license"] != "10" else str(total)}}

    return client(answer)


def institution(name, nsid):
    return {"nsid": nsid, "name": {"_content": name}}


def test_those_with_enough_photos_are_suggested():
    listed = [
        institution("Enough", "1@N00"),
        institution("Few", "2@N00"),
        institution(" Many <b> ", "3@N00"),
        institution("", "4@N00"),
    ]
    listed += [
        institution("Known", next(iter(SOURCES))),
        institution("Not wanted", next(iter(EXCLUDED))),
        {"nsid": None},
    ]
    api, seen = flickr({"institution": listed}), []
    found = suggestions(api, lambda number, of: seen.append((number, of)))
    assert found == [
        Suggestion("Many <b>", "3@N00", 14_000),
        Suggestion("Enough", "1@N00", 308),
    ]  # 14 x 21 are too few
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(api._sender.transport.requests) == 1 + 3 * len(LICENSES)
    message = flickr_suggestions("dag", "task", found)
    assert message.alert
    assert "Many &lt;b&gt;: 3@N00 _(14,000 CC-licensed images)_" in message.text


@pytest.mark.parametrize("listed", [[], [{"nsid": "1@N00", "name": "renamed"}], [institution("A", None)]])
def test_a_list_that_names_no_institution_is_an_error(listed):
    with pytest.raises(Retry, match="has no institution with a name and an nsid"):
        suggestions(flickr({"institution": listed}))


def test_no_institution_is_new():
    listed = [institution("Known", account) for account in SOURCES]
    assert suggestions(flickr({"institution": listed})) == []


@pytest.mark.parametrize("institutions", [{}, None, {"institution": None}, {"institutions": []}])
def test_a_list_that_is_missing_is_an_error(institutions):
    with pytest.raises(Retry, match=r"gave up after 4 attempts: `institutions\.institution`"):
        suggestions(flickr(institutions))


@pytest.mark.parametrize("photos", [{}, {"total": None}, {"total": "many"}])
def test_a_total_that_is_missing_is_an_error(photos):
    def answer(url, params):
        if params["method"] == "flickr.commons.getInstitutions":
            return {"stat": "ok", "institutions": {"institution": [institution("A", "1@N00")]}}
        return {"stat": "ok", "photos": photos}

    with pytest.raises(
        Retry, match=r"gave up after 4 attempts: `photos\.total` (should be a number|is missing)"
    ):
        suggestions(client(answer))


def test_a_service_that_is_not_available_is_asked_again():
    answers = iter(
        [
            {
                "stat": "fail",
                "code": 201,
                "message": "Sorry, the Flickr API service is not currently available.",
            },
            {"stat": "ok", "institutions": {"institution": [institution("Known", next(iter(SOURCES)))]}},
        ]
    )
    assert suggestions(client(lambda *_: next(answers))) == []


def test_a_wrong_key_is_fatal():
    with pytest.raises(Fatal, match="Invalid API Key"):
        suggestions(client(lambda *_: {"stat": "fail", "code": 100, "message": "Invalid API Key"}))
