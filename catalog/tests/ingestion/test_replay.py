"""Recordings: answered by rule, and made without secrets."""

import orjson
import pytest
from werkzeug import Response

from catalog.ingestion.client import Client
from catalog.ingestion.errors import Fatal, UnansweredRequest
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.replay import RecordingAdapter, ReplayAdapter, find
from catalog.ingestion.secrets import ApiKey, KeyCredentials, Redactor, Secret

URL = "https://api.example.org/items"


def recording(folder, *interactions, provider="example"):
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, (params, body, *times) in enumerate(interactions):
        (folder / f"{number}.json").write_bytes(orjson.dumps(body))
        made.append(
            {
                "request": {"method": "GET", "url": URL, "params": params},
                "response": {
                    "status": 200,
                    "headers": {"content-type": "application/json"},
                    "body_file": f"{number}.json",
                },
                **({"times": times[0]} if times else {}),
            }
        )
    (folder / "recording.json").write_bytes(
        orjson.dumps({"provider": provider, "date": None, "about": "x", "interactions": made})
    )
    return folder


def client(folder):
    return Client(
        transport=ReplayAdapter(folder), credentials=KeyCredentials(ApiKey("K", "key", "x"), Secret("s3cret"))
    )


def test_the_first_that_fits_answers(tmp_path):
    c = client(recording(tmp_path, ({"page": "2"}, 2), ({"tag": ["a", "b"]}, "tags"), ({}, "any")))
    assert c.get_json(URL, {"page": 2, "size": 500}) == 2
    assert c.get_json(URL, {"tag": ["b", "x", "a"]}) == "tags"
    assert c.get_json(URL, {"tag": ["a"], "page": 3}) == "any"
    assert c.replayed


def test_used_up_answers_are_passed_over(tmp_path):
    c = client(recording(tmp_path, ({}, "once", 1), ({}, "then")))
    assert [c.get_json(URL) for _ in range(3)] == ["once", "then", "then"]


def test_a_request_without_an_answer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(
        UnansweredRequest, match=r"no answer to GET https://api.example.org/items \(page=9\)"
    ) as raised:
        client(recording(tmp_path, ({"page": "1"}, 1))).get_json(URL, {"page": 9})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("place", ["", "example", "example/recording"])
def test_where_a_recording_is_looked_for(tmp_path, place):
    recording(tmp_path / place)
    assert find(tmp_path, "example") == tmp_path / place


def test_a_missing_or_foreign_recording_is_refused(tmp_path):
    with pytest.raises(Fatal, match=r"no recording.json for example in .*example/recording"):
        find(tmp_path, "example")
    recording(tmp_path, provider="other")
    with pytest.raises(Fatal, match="is other's, not example's"):
        find(tmp_path, "example")


def test_recording_and_replaying_it(httpserver, tmp_path):
    """What was recorded answers again, and the key is nowhere in it: not in URLs, not in a body that repeats it."""
    key = "t0p/s3cret+key="
    httpserver.expect_request("/items").respond_with_handler(
        lambda r: Response(
            orjson.dumps({"items": [1], "you": r.args["key"]}), content_type="application/json"
        )
    )
    url = httpserver.url_for("/items")
    adapter = RecordingAdapter(tmp_path, "example", None, Redactor([Secret(key)]), frozenset({"key"}))
    live = Client(
        transport=adapter,
        credentials=KeyCredentials(ApiKey("K", "key", "x"), Secret(key)),
        throttle=NoThrottle(),
    )
    assert live.get_json(url, {"page": 1})["you"] == key
    written = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert key.encode() not in written
    assert b"t0p%2Fs3cret%2Bkey%3D" not in written
    assert client(tmp_path).get_json(url, {"page": 1}) == {"items": [1], "you": "***"}
