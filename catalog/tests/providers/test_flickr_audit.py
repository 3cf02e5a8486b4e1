"""The audit of the Flickr Commons over an API in memory."""

import pytest

from catalog.ingestion.errors import Fatal
from catalog.notifications.messages import flickr_suggestions
from catalog.providers.flickr.audit import ENDPOINT, LEFT_OUT, Suggestion, suggestions
from catalog.providers.flickr.provider import LICENSES, SOURCES
from catalog.tests.providers.fake_api import client

PHOTOS = {"1@N00": 40, "2@N00": 37, "3@N00": 1000}  # photos under each license


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
        institution("Forty", "1@N00"),
        institution("Few", "2@N00"),
        institution(" Many <b> ", "3@N00"),
        institution("", "4@N00"),
    ]
    listed += [
        institution("Known", next(iter(SOURCES))),
        institution("Not wanted", next(iter(LEFT_OUT))),
        {"nsid": None},
    ]
    api, seen = flickr({"institution": listed}), []
    found = suggestions(api, lambda number, of: seen.append((number, of)))
    assert found == [
        Suggestion("Many <b>", "3@N00", 8000),
        Suggestion("Forty", "1@N00", 320),
    ]  # 8 x 37 are too few
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(api._transport.requests) == 1 + 3 * len(LICENSES)
    message = flickr_suggestions("dag", "task", found)
    assert message.alert
    assert "Many &lt;b&gt;: 3@N00 _(8,000 CC-licensed images)_" in message.text


@pytest.mark.parametrize("institutions", [{}, None, {"institution": []}])
def test_no_institutions(institutions):
    assert suggestions(flickr(institutions)) == []


def test_a_wrong_key_is_fatal():
    with pytest.raises(Fatal, match="Invalid API Key"):
        suggestions(client(lambda *_: {"stat": "fail", "code": 100, "message": "Invalid API Key"}))
