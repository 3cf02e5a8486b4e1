"""OAuth2 against a real server: codes, refreshing, tokens that expire during a pull."""

import threading

import pytest

from catalog.ingestion.client import Client, Limits
from catalog.ingestion.errors import Fatal, Retry
from catalog.ingestion.oauth2 import BearerCredentials, OAuth2, TokenPair, exchange_code, refresh
from catalog.ingestion.rate import NoThrottle
from catalog.tests.oauth2_server import Registered, oauth2_provider

pytestmark = pytest.mark.enable_socket
CLIENT = {"client_id": Registered.client_id, "client_secret": Registered.secret, "audience": "made up"}


@pytest.fixture
def remote():
    with oauth2_provider() as found:
        yield found


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
        refresh(OAuth2("", "http://127.0.0.1:9/token"), CLIENT, TokenPair("a", "b"))


def test_a_token_that_expires_during_a_pull_is_renewed_once_by_all_threads(remote):
    provider, oauth2, api = remote
    provider.codes.add("code-1")
    stored = [exchange_code(oauth2, CLIENT, "code-1")]
    lock = threading.Lock()

    def renewed(spent):
        with lock:
            stored.append(refresh(oauth2, CLIENT, spent))
            return stored[-1]

    credentials = BearerCredentials(lambda: stored[-1], renewed)
    client = Client(
        credentials=credentials, throttle=NoThrottle(), sleep=lambda _: None, limits=Limits(read=5)
    )
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
    client = Client(
        credentials=BearerCredentials(lambda: stored[-1], lambda _: pytest.fail("renewed twice")),
        throttle=NoThrottle(), sleep=lambda _: None,
    )  # fmt: skip
    provider.expire()
    stored.append(refresh(oauth2, CLIENT, stored[0]))  # the refresh DAG
    assert client.get_json(api, {"page": 3}) == {"page": "3"}


def test_a_refresh_token_that_is_no_longer_good_ends_the_pull(remote):
    provider, oauth2, api = remote
    provider.codes.add("code-1")
    pair = exchange_code(oauth2, CLIENT, "code-1")
    provider.expire()
    provider.refresh.clear()
    credentials = BearerCredentials(lambda: pair, lambda spent: refresh(oauth2, CLIENT, spent))
    with pytest.raises(Fatal, match="invalid_grant") as raised:
        Client(credentials=credentials, throttle=NoThrottle(), sleep=lambda _: None).get_json(api)
    assert "canary" not in str(raised.value)
