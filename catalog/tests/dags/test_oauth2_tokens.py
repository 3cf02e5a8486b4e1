"""Codes and tokens in Variables: what is left of them when a task is killed, or a Variable cannot be read."""

import json

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.errors import Fatal, Retry
from catalog.providers.freesound.provider import Freesound
from catalog.tests.oauth2_server import Registered, oauth2_provider

pytestmark = [pytest.mark.airflow, pytest.mark.database, pytest.mark.enable_socket]
CODES, TOKENS, SECRETS = "OAUTH2_AUTH_KEYS", "OAUTH2_ACCESS_TOKENS", "OAUTH2_PROVIDER_SECRETS"


class Killed(BaseException):
    """Ends a task wherever it is."""


class Variables:
    """Airflow's Variables; the test decides which read or write is the last one.

    Attributes:
        stored: Value by name.
        before: Called with the name and the new value before a write; None for the value before a read.
    """

    def __init__(self, stored):
        self.stored = {name: json.dumps(value) for name, value in stored.items()}
        self.before = lambda name, value: None

    def get(self, name, default=None):
        self.before(name, None)
        return self.stored.get(name, default)

    def set(self, name, value, **options):
        self.before(name, value)
        self.stored[name] = json.dumps(value)

    def value(self, name):
        return json.loads(self.stored[name])


@pytest.fixture
def remote():
    with oauth2_provider() as (provider, oauth2, _):
        provider.codes.add("code-1")
        yield provider, oauth2


@pytest.fixture
def provider(remote):
    return remote[0]


@pytest.fixture
def variables(remote, dsn, monkeypatch):
    from catalog.dags.common import oauth2, variables

    secrets = {"client_id": Registered.client_id, "client_secret": Registered.secret}
    found = Variables(
        {
            SECRETS: {"freesound": {**secrets, "token_url": remote[1].token_url}},
            CODES: {"freesound": "code-1", "other": "stays"},
            TOKENS: {"other": {"access_token": "a", "refresh_token": "b"}},
        }
    )
    monkeypatch.setattr(variables, "Variable", found)
    monkeypatch.setattr(oauth2, "Variable", found)
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    return found


def authorize():
    from catalog.dags.common.oauth2 import authorize

    return authorize(Freesound)


def renew():
    from catalog.dags.common.oauth2 import renew

    return renew(Freesound)


def tokens_of(variables):
    return variables.value(TOKENS)["freesound"]


def test_a_code_is_exchanged_and_removed(provider, variables):
    assert authorize() is True
    assert tokens_of(variables)["refresh_token"] in provider.refresh
    assert variables.value(TOKENS)["other"] == {"access_token": "a", "refresh_token": "b"}
    assert variables.value(CODES) == {"other": "stays"}
    assert authorize() is False
    assert len(provider.requests) == 1


def test_a_code_of_no_provider_is_refused(variables):
    """Its name is mistyped, so it would expire unused; the codes of others are exchanged all the same."""
    from catalog.dags.oauth2 import authorize_providers

    variables.stored[CODES] = json.dumps({"freesound": "code-1", "freesond": "canary"})
    with pytest.raises(
        AirflowFailException, match=r"has a code of freesond, .*did you mean freesound"
    ) as said:
        authorize_providers.function()
    assert "canary" not in str(said.value)
    assert tokens_of(variables)["refresh_token"]
    assert variables.value(CODES) == {"freesond": "canary"}


@pytest.mark.parametrize("codes", [{}, {"freesound": None}])
def test_without_a_code_the_task_is_skipped(variables, codes):
    from catalog.dags.oauth2 import authorize_providers

    variables.stored[CODES] = json.dumps(codes)
    with pytest.raises(AirflowSkipException, match="OAUTH2_AUTH_KEYS has no code"):
        authorize_providers.function()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_code_is_not_sent_again_after_a_kill(provider, variables, monkeypatch, number, when):
    """A provider that gets it twice revokes the tokens that it has issued for it."""
    writes, write = [], variables.set

    def killed(name, value, **options):
        writes.append(name)
        if len(writes) == number and when == "before":
            raise Killed
        write(name, value, **options)
        if len(writes) == number:
            raise Killed

    monkeypatch.setattr(variables, "set", killed)
    with pytest.raises(Killed):
        authorize()
    monkeypatch.setattr(variables, "set", write)
    authorize()
    assert len(provider.requests) <= 1
    assert "freesound" not in variables.value(CODES)


@pytest.mark.parametrize("act", [authorize, renew])
def test_no_read_that_can_fail_follows_the_exchange(provider, variables, act):
    """The new tokens are stored whatever has happened to the Variables; the old ones are spent."""
    authorize()
    provider.codes.add("code-2")
    variables.set(CODES, {"freesound": "code-2"})
    before = len(provider.requests)

    def read(name, value):
        if value is None and len(provider.requests) > before:
            raise ConnectionError("the API server is away")

    variables.before = read
    assert act()
    variables.before = lambda name, value: None
    assert tokens_of(variables)["refresh_token"] in provider.refresh
    assert tokens_of(variables)["access_token"] in provider.access


@pytest.mark.parametrize("broken", [TOKENS, SECRETS])
@pytest.mark.parametrize("act", [authorize, renew])
def test_a_malformed_variable_costs_no_code_and_no_token(provider, variables, act, broken):
    from airflow.sdk.exceptions import AirflowFailException

    variables.set(TOKENS, {"freesound": {"access_token": "a", "refresh_token": "b"}})
    variables.stored[broken] = "{"
    with pytest.raises(AirflowFailException, match=f"{broken} is malformed"):
        act()
    assert provider.requests == []
    assert variables.value(CODES)["freesound"] == "code-1"


def test_an_access_token_that_cannot_be_renewed_is_not_stored(httpserver, provider, variables):
    httpserver.expect_request("/token").respond_with_json({"access_token": "a", "token_type": "Bearer"})
    secrets = variables.value(SECRETS)["freesound"]
    variables.set(SECRETS, {"freesound": {**secrets, "token_url": httpserver.url_for("/token")}})
    with pytest.raises(Fatal, match="has sent no refresh token"):
        authorize()
    assert variables.value(CODES) == {"other": "stays"}  # it is used up
    assert "freesound" not in variables.value(TOKENS)


GOOD = {"access_token": "canary-a", "refresh_token": "canary-b"}


@pytest.mark.parametrize(
    ("answered", "kept"),
    [
        ({"access_token": ""}, GOOD),
        ({"access_token": "", "refresh_token": "c"}, {**GOOD, "refresh_token": "c"}),
    ],
)
def test_an_access_token_that_is_empty_costs_no_refresh_token(httpserver, variables, answered, kept):
    """The one that came with it is stored, since the old one may be spent; it alone is enough to go on."""
    httpserver.expect_oneshot_request("/token").respond_with_json(answered)
    secrets = variables.value(SECRETS)["freesound"]
    variables.set(SECRETS, {"freesound": {**secrets, "token_url": httpserver.url_for("/token")}})
    variables.set(TOKENS, {"freesound": GOOD})
    with pytest.raises(Fatal, match="usable access token"):
        renew()
    assert tokens_of(variables)["refresh_token"] == kept["refresh_token"]

    httpserver.expect_oneshot_request("/token").respond_with_json({"access_token": "d"})
    if "refresh_token" in answered:
        from catalog.dags.common.oauth2 import credentials_for

        credentials_for(Freesound)  # a pull renews it before it asks for anything
    else:
        renew()
    assert tokens_of(variables) == {**kept, "access_token": "d"}
    assert kept["refresh_token"] in httpserver.log[-1][0].get_data(as_text=True)


@pytest.mark.parametrize("stored", [{"access_token": "a"}, {"access_token": "a", "refresh_token": " b\n"}])
def test_tokens_that_cannot_be_renewed_are_named_and_not_taken_for_none(variables, stored):
    from catalog.dags.common.oauth2 import stored_pair

    variables.set(TOKENS, {"freesound": stored})
    for act in (renew, lambda: stored_pair(Freesound)):
        with pytest.raises(Fatal, match=f"{TOKENS} has no usable refresh_token for freesound"):
            act()
    variables.set(TOKENS, {"freesound": {"access_token": None, "refresh_token": None}})
    assert renew() is None


@pytest.mark.parametrize(("status", "error"), [(429, Retry), (400, Fatal)])
def test_a_code_that_was_not_exchanged_stays(httpserver, provider, variables, status, error):
    """The server was busy, or the client's secret is wrong: the code may still be valid."""
    httpserver.expect_request("/token").respond_with_json({"error": "odd"}, status)
    secrets = variables.value(SECRETS)["freesound"]
    variables.set(SECRETS, {"freesound": {**secrets, "token_url": httpserver.url_for("/token")}})
    with pytest.raises(error):
        authorize()
    assert variables.value(CODES) == {"freesound": "code-1", "other": "stays"}
    variables.set(SECRETS, {"freesound": secrets})
    assert authorize() is True


def test_two_runs_exchange_a_code_once(provider, variables, monkeypatch):
    """The one that waits for the other sees that the code is gone."""
    from catalog.dags.common import oauth2

    exclusive = oauth2.exclusive
    others: list[str] = []

    def waits():
        if not others:
            others.append("waits")
            assert authorize() is True
        return exclusive()

    monkeypatch.setattr(oauth2, "exclusive", waits)
    assert authorize() is False
    assert len(provider.requests) == 1
