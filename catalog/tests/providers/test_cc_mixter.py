"""ccMixter: answers that are almost JSON, pages that are short and yet not the last."""

import json

import pytest

from catalog.core.errors import Retry
from catalog.ingestion.records import Audio
from catalog.providers.cc_mixter.provider import LIMIT, CcMixter
from catalog.tests.providers.mapped import record_of
from catalog.tests.providers.site import Pulled, Reply, Site, client_of

QUERY = "https://ccmixter.org/api/query/"


def upload(n, **over):
    info = {"media-type": "audio", "default-ext": "mp3", "sr": "44.1k", "ps": "1:00"}
    file = {
        "download_url": f"https://ccmixter.org/content/{n}.mp3",
        "file_rawsize": 10,
        "file_format_info": info,
    }
    return {
        "upload_id": n,
        "file_page_url": f"https://ccmixter.org/files/a/{n}",
        "license_url": "http://creativecommons.org/licenses/by/3.0/",
        "files": [file],
        **over,
    }


def ccmixter(rows, hidden=(), cap=LIMIT):
    """A database whose window is cut first, and that leaves hidden rows out of it afterwards."""

    def answer(method, url, params):
        assert url == QUERY
        assert (params["sort"], params["ord"]) == ("id", "asc")
        at = int(params["offset"])
        window = rows[at : at + min(cap, int(params["limit"]))]
        return [row for row in window if row["upload_id"] not in hidden]

    return Site(answer)


def offsets(site):
    return [int(params["offset"]) for _, _, params, _ in site.asked]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"bpm": 0123, "text": "a: 007"}', {"bpm": 123, "text": "a: 007"}),
        (b'{"a":00123,"b":1}', {"a": 123, "b": 1}),
        (b'{"a": 0123.0}', {"a": 123.0}),
        (b'{"a": -007}', {"a": -7}),
        (b'{"a": 0, "b": 0.5, "c": 100}', {"a": 0, "b": 0.5, "c": 100}),
        (b'["x: 007, \\"y\\": 008"]', ['x: 007, "y": 008']),
        (b'{"a": "tab\there"}', {"a": "tab\there"}),
        (b"[01, 002]", [1, 2]),
    ],
)
def test_almost_json(text, value):
    assert client_of(Site(lambda *_: Reply(text, content_type="text/plain"))).get_json(QUERY) == value


def test_what_is_no_json_at_all(tmp_path):
    with pytest.raises(Retry, match="is not JSON"):
        Pulled(CcMixter(), Site(lambda *_: Reply(b"<html>busy</html>")), tmp_path)


def test_a_leading_zero_costs_no_upload(tmp_path):
    def answer(method, url, params):
        text = json.dumps(
            [upload(1, upload_extra={"bpm": "BPM"}), upload(2)] if params["offset"] == "0" else []
        )
        return Reply(text.replace('"BPM"', "094").encode())

    assert Pulled(CcMixter(), Site(answer), tmp_path).ids() == ["1", "2"]


def test_a_page_that_is_one_short_is_not_the_last(tmp_path):
    site = ccmixter([upload(n) for n in range(200)], hidden={40})  # 0 is a number, too
    pulled = Pulled(CcMixter(), site, tmp_path)
    assert pulled.whole
    assert sorted(set(map(int, pulled.ids()))) == [n for n in range(200) if n != 40]
    assert offsets(site) == [0, 99, 199, 200, 201]  # the last one confirms that an empty page is the end


@pytest.mark.parametrize("cap", [20, 50, 99])
def test_a_server_that_gives_fewer_than_are_asked_for_costs_requests_and_no_uploads(cap, tmp_path):
    site = ccmixter([upload(n) for n in range(1, 301)], cap=cap)
    pulled = Pulled(CcMixter(), site, tmp_path)
    assert pulled.whole
    assert sorted(map(int, pulled.ids())) == list(range(1, 301))


@pytest.mark.parametrize("body", [{}, {"error": "database is locked"}, {"message": "moved"}, None])
def test_an_answer_that_is_no_list(body, tmp_path):
    with pytest.raises(Retry):
        Pulled(CcMixter(), Site(lambda *_: body), tmp_path)


def test_the_login_name_stands_for_a_missing_one():
    named = upload(1, user_real_name="Mia Maker", user_name="mia")
    assert record_of(Audio, CcMixter().record(named)).creator == "Mia Maker"
    assert record_of(Audio, CcMixter().record({**named, "user_real_name": ""})).creator == "mia"
