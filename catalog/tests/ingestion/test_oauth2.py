"""OAuth2 against a real server: codes, refreshing, tokens that expire during a pull."""

import threading
from urllib.parse import urlsplit

import msgspec
import pytest
from werkzeug import Response

from catalog.core.errors import BadAddress, Fatal, HttpStatus, Retry
from catalog.ingestion.client import Client
from catalog.ingestion.oauth2 import BearerCredentials, OAuth2, TokenPair, exchange_code, refresh
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.sender import Limits
from catalog.tests.ingestion.raw_server import raw_server, request
from catalog.tests.oauth2_server import Registered, oauth2_provider

pytestmark = pytest.mark.enable_socket
CLIENT = {"client_id": Registered.client_id, "client_secret": Registered.secret, "audience": "made up"}


HERE = ("localhost", "127.0.0.1")


@pytest.fixture
def remote():
    """A provider whose token endpoint is one of the operator's settings."""
    with oauth2_provider() as (provider, oauth2, api):
        yield provider, msgspec.structs.replace(oauth2, private_hosts=HERE), api


def client_of(credentials, **more):
    return Client(
        credentials=credentials,
        throttle=NoThrottle(),
        sleep=lambda _: None,
        limits=Limits(read=5),
        private_hosts=HERE,
        **more,
    )


def test_a_code_is_exchanged_once(remote):
    provider, oauth2, _ = remote
    provider.codes.add("code-1")
    pair = exchange_code(oauth2, CLIENT, "code-1")
    assert pair.access_token in provider.access
    assert pair.refresh_token in provider.refresh
    assert provider.requests[0]["audience"] == "made up"  # whatever else the provider wants
    with pytest.raises(Fatal, match=r"invalid_grant: Invalid 'code'"):
        exchange_code(oauth2, CLIENT, "code-1")


def test_refreshing_brings_a_new_pair_and_spends_the_old_one(remote):
    provider, oauth2, _ = remote
    provider.codes.add("code-1")
    first = exchange_code(oauth2, CLIENT, "code-1")
    second = refresh(oauth2, CLIENT, first)
    assert second.access_token != first.access_token
    assert second.refresh_token not in (first.refresh_token, "")
    with pytest.raises(Fatal, match="invalid_grant") as raised:
        refresh(oauth2, CLIENT, first)
    assert "canary" not in str(raised.value)
    assert Registered.secret not in str(raised.value)


def test_a_wrong_secret_is_fatal_and_a_server_that_is_away_is_not(remote):
    provider, oauth2, _ = remote
    provider.codes.add("code-1")
    with pytest.raises(Fatal, match="invalid_client"):
        exchange_code(oauth2, {**CLIENT, "client_secret": "wrong"}, "code-1")
    with pytest.raises(Retry, match="ConnectionError"):
        refresh(OAuth2("", "http://127.0.0.1:9/token", HERE), CLIENT, TokenPair("a", "b"))


def test_a_token_that_expires_during_a_pull_is_renewed_once_by_all_threads(remote):
    provider, oauth2, api = remote
    provider.codes.add("code-1")
    stored = [exchange_code(oauth2, CLIENT, "code-1")]
    lock = threading.Lock()

    def renewed(spent):
        with lock:
            stored.append(refresh(oauth2, CLIENT, spent))
            return stored[-1]

    client = client_of(BearerCredentials(lambda: stored[-1], renewed, HERE))
    assert client.get_json(api, {"page": 1}) == {"page": "1"}
    provider.expire()
    assert client.map(lambda n: client.get_json(api, {"page": n})["page"], range(8)) == [
        str(n) for n in range(8)
    ]
    assert len(stored) == 2
    assert (
        client.redact(f"now {stored[-1].access_token}, before {stored[0].access_token}")
        == "now ***, before ***"
    )


def test_tokens_that_somebody_else_renewed_are_taken_over(remote):
    provider, oauth2, api = remote
    provider.codes.add("code-1")
    stored = [exchange_code(oauth2, CLIENT, "code-1")]
    client = client_of(BearerCredentials(lambda: stored[-1], lambda _: pytest.fail("renewed twice"), HERE))
    provider.expire()
    stored.append(refresh(oauth2, CLIENT, stored[0]))  # the refresh DAG
    assert client.get_json(api, {"page": 3}) == {"page": "3"}


def test_a_refresh_token_that_is_no_longer_good_ends_the_pull(remote):
    provider, oauth2, api = remote
    provider.codes.add("code-1")
    pair = exchange_code(oauth2, CLIENT, "code-1")
    provider.expire()
    provider.refresh.clear()
    credentials = BearerCredentials(lambda: pair, lambda spent: refresh(oauth2, CLIENT, spent), HERE)
    with pytest.raises(Fatal, match="invalid_grant") as raised:
        client_of(credentials).get_json(api)
    assert "canary" not in str(raised.value)


# where tokens and secrets may go

PAIR = TokenPair("canary-access/+", "canary-refresh/+")


def test_a_token_is_sent_to_the_api_s_hosts_only(httpserver):
    def renewed(_):
        pytest.fail("another server had the token renewed")

    credentials = BearerCredentials(lambda: PAIR, renewed, ["localhost"])
    httpserver.expect_request("/api").respond_with_json({})
    httpserver.expect_request("/refused").respond_with_response(Response(status=401))
    client, elsewhere = client_of(credentials), f"http://127.0.0.1:{httpserver.port}"
    client.get_json(httpserver.url_for("/api"))
    client.get_json(f"{elsewhere}/api")
    with pytest.raises(HttpStatus):
        client.get_json(f"{elsewhere}/refused")
    assert [r.headers.get("Authorization") for r, _ in httpserver.log] == [
        f"Bearer {PAIR.access_token}",
        None,
        None,
    ]


def test_a_token_is_not_sent_in_the_clear(httpserver):
    credentials = BearerCredentials(lambda: PAIR, lambda pair: pair, ["localhost"])
    with pytest.raises(Fatal, match="over https only"):
        Client(credentials=credentials, throttle=NoThrottle()).get_json(httpserver.url_for("/api"))
    assert not httpserver.log


def test_tokens_belong_to_hosts():
    with pytest.raises(Fatal, match="has no host that it may be sent to"):
        BearerCredentials(lambda: PAIR, lambda pair: pair, [])


def test_a_provider_s_token_endpoint_is_asked_over_https_at_a_public_address(httpserver):
    """The operator's own may be anywhere; that the other tests here reach theirs shows it."""
    httpserver.expect_request("/token").respond_with_json({})
    url = httpserver.url_for("/token")
    with pytest.raises(Fatal, match="secrets are sent over https only"):
        exchange_code(OAuth2("", url), CLIENT, "code-1")
    with pytest.raises(BadAddress, match="is not on the public internet"):
        refresh(OAuth2("", url.replace("http:", "https:")), CLIENT, PAIR)
    assert not httpserver.log


def test_secrets_do_not_follow_a_redirect(httpserver):
    away = f"http://127.0.0.1:{httpserver.port}/away"
    httpserver.expect_request("/token").respond_with_response(
        Response(status=307, headers={"Location": away})
    )
    with pytest.raises(Retry, match="307"):
        refresh(OAuth2("", httpserver.url_for("/token"), HERE), CLIENT, PAIR)
    assert [urlsplit(r.url).path for r, _ in httpserver.log] == ["/token"]


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (Response("<html>busy</html>"), Retry),
        (Response("[1]", content_type="application/json"), Retry),
        (Response(status=503), Retry),
        (Response(f'{{"error": "odd", "error_description": "{PAIR.refresh_token}"}}', status=400), Fatal),
        (Response("{}", content_type="application/json"), Fatal),
        (Response("no", status=403), Fatal),
    ],
)
def test_answers_that_hold_no_tokens(httpserver, response, error):
    httpserver.expect_request("/token").respond_with_response(response)
    with pytest.raises(error) as raised:
        refresh(OAuth2("", httpserver.url_for("/token"), HERE), CLIENT, PAIR)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("token", ["", None, 7, {"a": 1}, ["x"], " a\nb", "a\r\nX-Odd: 1", "\u00e9"])
def test_only_what_a_request_can_carry_is_a_token(httpserver, token):
    httpserver.expect_request("/token").respond_with_json({"access_token": token, "token_type": "Bearer"})
    with pytest.raises(Fatal, match="answered without a usable access token"):
        refresh(OAuth2("", httpserver.url_for("/token"), HERE), CLIENT, PAIR)
    httpserver.clear()
    httpserver.expect_request("/token").respond_with_json({"access_token": token, "refresh_token": "next"})
    assert refresh(OAuth2("", httpserver.url_for("/token"), HERE), CLIENT, PAIR) == TokenPair("", "next")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
@pytest.mark.parametrize("body", ['{"detail": "Request was throttled."}', '{"error": "slow_down"}', "busy"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda oauth2: exchange_code(oauth2, CLIENT, "canary-code"),
        lambda oauth2: refresh(oauth2, CLIENT, PAIR),
    ],
    ids=["code", "refresh token"],
)
def test_a_busy_token_endpoint_refuses_nothing(httpserver, status, body, ask):
    httpserver.expect_request("/token").respond_with_data(body, status, {"Retry-After": "37"})
    with pytest.raises(Retry, match=f"/token: status {status}$") as raised:
        ask(OAuth2("", httpserver.url_for("/token"), HERE))
    assert raised.value.retry_after == 37


@pytest.mark.timeout(60)
def test_a_token_endpoint_that_drips(monkeypatch):
    monkeypatch.setattr("catalog.ingestion.oauth2.TOTAL", 0.5)

    def serve(server, connection):
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        server.drip(connection, [b"x"] * 100_000)

    with raw_server(serve) as server, pytest.raises(Retry, match=r"not complete after 0.5 s"):
        refresh(OAuth2("", server.url("/token"), HERE), CLIENT, PAIR)
