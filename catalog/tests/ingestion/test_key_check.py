"""Whether an API accepts a key, judged by one request to a real server."""

from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import orjson
import pytest
import time_machine

from catalog.core.secrets import Secret
from catalog.ingestion import client as client_module
from catalog.ingestion.assemble import offsets_of
from catalog.ingestion.counted import Counted
from catalog.ingestion.credentials import ApiKey
from catalog.ingestion.key_check import ask
from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import FOLDER, provider_classes
from catalog.ingestion.replay import ReplayAdapter
from catalog.providers.flickr.search import check as flickr_check
from catalog.providers.jamendo.responses import check as jamendo_check
from catalog.tests.providers.fake_api import FakeApi
from catalog.tests.values import present

KEY = "k3y/with+odd=chars"
HERE = ("localhost", "127.0.0.1")
PAGE = '{"items": [{"id": 1}]}'
KEYED = [cls for cls in provider_classes() if cls.key]


class Museum(Provider):
    name = "museum"
    catalog_names = {"image": "museum"}
    key = ApiKey("API_KEY_MUSEUM", "api_key", "https://museum.example.org/keys")
    pages = Counted("http://127.0.0.1:9/api", items="items")  # nobody listens on the discard port


def answered(httpserver, status=200, body=PAGE, headers=None, **declared):
    """Ask a server that answers like this; return its answer and the requests that it received."""
    httpserver.expect_request("/api").respond_with_data(
        body, status, headers, content_type="application/json"
    )
    pages = Counted(httpserver.url_for("/api"), items="items")
    answer = ask(type("Here", (Museum,), {"pages": pages, **declared}), Secret(KEY), private_hosts=HERE)
    return answer, [request for request, _ in httpserver.log]


def test_an_accepted_key_is_sent_once(httpserver):
    answer, requests = answered(httpserver)
    assert answer == ("accepted", "")
    assert [request.args["api_key"] for request in requests] == [KEY]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_in_the_answer(httpserver, status):
    """Not even when the server repeats it: as it is, and in an address."""
    body = f'{{"error": "{KEY} is no key, as in ?api_key=k3y%2Fwith%2Bodd%3Dchars"}}'
    (verdict, reason), requests = answered(httpserver, status, body)
    assert (verdict, len(requests)) == ("refused", 1)
    assert f'status {status} {{"error": "*** is no key, as in ?api_key=***' in reason


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_temporary_answer_is_none_and_nobody_waits(httpserver, status):
    (verdict, reason), requests = answered(httpserver, status, KEY, {"Retry-After": "900"})
    assert (verdict, len(requests)) == ("not asked", 1)
    assert f"status {status} ***" in reason


def test_a_server_that_is_not_there():
    verdict, reason = ask(Museum, Secret(KEY), private_hosts=HERE)
    assert verdict == "not asked"
    assert "Connection refused" in reason
    assert "(host=" not in reason, "the request is named, and the class is ours"
    assert KEY not in reason


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, KEY, "status 400 ***"),
        (404, "{}", "status 404"),
        (200, f'{{"error": "bad key {KEY}"}}', "the response reports an error: bad key ***"),
        (200, f'{{"{KEY}": []}}', "`items` is missing; the response has `***`"),
    ],
)
def test_other_answers_say_nothing_about_the_key(httpserver, status, body, said):
    (verdict, reason), _ = answered(httpserver, status, body)
    assert verdict == "unclear"
    assert said in reason


@pytest.mark.parametrize(
    ("check", "body"),
    [
        (flickr_check, {"stat": "fail", "code": 100, "message": "Invalid API Key"}),
        (jamendo_check, {"headers": {"status": "failed", "code": 5, "error_message": "invalid"}}),
    ],
)
def test_a_refusal_with_status_200(httpserver, check, body):
    def rounds(provider, client, window):
        check(client.get_json(provider.pages.url))

    (verdict, _), _ = answered(httpserver, body=orjson.dumps(body).decode(), rounds=rounds)
    assert verdict == "refused"


def test_a_mistake_in_a_provider_s_code(httpserver):
    def rounds(provider, client, window):
        return client.get_json(provider.pages.url)["items"][0][KEY]

    (verdict, reason), requests = answered(httpserver, rounds=rounds)
    assert (verdict, reason, len(requests)) == ("unclear", "'***'", 1)


def test_a_pull_that_counts_first_is_not_continued(httpserver):
    def rounds(provider, client, window):
        return [{"slice": client.get_json(provider.pages.url)["items"]} for _ in range(3)]

    (verdict, _), requests = answered(httpserver, rounds=rounds)
    assert (verdict, len(requests)) == ("accepted", 1)


def test_a_firewall_says_nothing_about_the_key(httpserver):
    body, blocking = "<html>Attention required!</html>", {403: 60}
    (verdict, _), _ = answered(httpserver, 403, body, blocking_statuses=blocking)
    assert verdict == "not asked"


@pytest.mark.parametrize("cls", KEYED, ids=lambda cls: cls.name)
def test_every_provider_with_a_key_can_be_asked(cls, monkeypatch):
    """The first response of its recording is an acceptance; status 401 is a refusal by each."""
    folder = FOLDER / cls.name / "recording"
    replay = ReplayAdapter(folder, *offsets_of(cls))
    day = orjson.loads((folder / "recording.json").read_bytes())["date"]
    sending = Mock(wraps=replay.send)
    monkeypatch.setattr(replay, "send", sending)
    monkeypatch.setattr(client_module, "Transport", lambda _: replay)
    today = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1) if day else datetime.now(UTC)
    with time_machine.travel(today):
        assert ask(cls, Secret(KEY)) == ("accepted", "")
    assert sending.call_count == 1

    refusing = FakeApi(lambda url, params: (401, f"not with {params.get(present(cls.key).param, KEY)}"))
    monkeypatch.setattr(client_module, "Transport", lambda _: refusing)
    verdict, reason = ask(cls, Secret(KEY))
    assert (verdict, len(refusing.requests)) == ("refused", 1)
    assert KEY not in reason
