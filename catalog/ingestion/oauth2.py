"""OAuth2 with authorization codes: a code, typed in once by a person, is exchanged for tokens.

Tokens are renewed when they expire.

RFC 6749, sections 4.1 (codes) and 6 (refreshing).
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session

from catalog.core.errors import Fatal, Retry
from catalog.core.secrets import Redactor, Secret, Signed, own_hosts
from catalog.ingestion.deadline import deadline
from catalog.ingestion.transport import LIBRARY_ERRORS, Transport, as_ours, host_of

TIMEOUT = 30  # seconds between two parts of an answer
TOTAL = 60  # seconds for an answer


class OAuth2(msgspec.Struct, frozen=True):
    """How a provider hands out tokens.

    Attributes:
        authorize_url: Where a person gets a code, in a browser, logged in there.
        token_url: Where codes and refresh tokens are exchanged.
        private_hosts: Names of hosts that the operator has put in the place of the provider's: they may be at
            private addresses and be asked over http.
    """

    authorize_url: str
    token_url: str
    private_hosts: tuple[str, ...] = ()


class TokenPair(msgspec.Struct, frozen=True):
    """What a provider hands out: one token for requests, one for the next pair."""

    access_token: str
    refresh_token: str


def exchange_code(oauth2: OAuth2, client: Mapping[str, str], code: str) -> TokenPair:
    """The first pair.

    Args:
        oauth2: The provider's definition.
        client: `client_id`, and what else the provider wants (`client_secret`).
        code: What a person was given; it is good once.

    Raises:
        Fatal: It is not accepted, or the definition's address is none to send secrets to.
        Retry: Nobody answers.
    """
    return _exchange(
        oauth2,
        client,
        [code],
        lambda session, sent: session.fetch_token(
            oauth2.token_url, grant_type="authorization_code", code=code, **sent
        ),
    )


def refresh(oauth2: OAuth2, client: Mapping[str, str], pair: TokenPair) -> TokenPair:
    """The next pair; the one given is spent. Arguments and errors are those of `exchange_code`."""
    return _exchange(
        oauth2,
        client,
        [pair.refresh_token],
        lambda session, sent: session.refresh_token(
            oauth2.token_url, refresh_token=pair.refresh_token, **sent
        ),
    )


def _exchange(
    oauth2: OAuth2,
    client: Mapping[str, str],
    given: Iterable[str],
    ask: Callable[[OAuth2Session, dict[str, Any]], Any],
) -> TokenPair:
    url = oauth2.token_url
    if not url.lower().startswith("https:") and host_of(url) not in oauth2.private_hosts:
        raise Fatal(f"{url}: secrets are sent over https only.")
    redact = Redactor(Secret(v) for v in (*client.values(), *given) if v)
    extra = {k: v for k, v in client.items() if k not in ("client_id", "client_secret")}
    # A redirect would take the secrets in the body along.
    sent = {**extra, "timeout": TIMEOUT, "allow_redirects": False}
    try:
        with deadline(TOTAL) as until, _session(oauth2, client) as session:
            answer = ask(session, sent)
    except AuthlibBaseError as error:
        raise Fatal(redact(f"{url} refused: {error.error}: {error.description}")) from None
    except requests.HTTPError as error:
        raise _refused(url, error, redact) from None
    except LIBRARY_ERRORS as error:
        if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
            raise Retry(redact(f"{url}: {error}")) from None  # an answer that is no JSON object
        raise as_ours(error, until, redact, url) from None
    try:
        return TokenPair(answer["access_token"], answer.get("refresh_token") or "")
    except (KeyError, AttributeError):
        raise Fatal(f"{url} answered without an access token") from None


def _session(oauth2: OAuth2, client: Mapping[str, str]) -> OAuth2Session:
    how = "client_secret_post"
    session = OAuth2Session(client["client_id"], client.get("client_secret"), token_endpoint_auth_method=how)
    for scheme in ("https://", "http://"):
        session.mount(scheme, Transport(oauth2.private_hosts))
    return session


def _refused(url: str, error: requests.HTTPError, redact: Redactor) -> Fatal | Retry:
    status = error.response.status_code if error.response is not None else 0
    kind = Retry if status >= 500 or status == 429 else Fatal
    return kind(redact(f"{url}: {type(error).__name__}: {error}"))


class BearerCredentials:
    """Signs requests by an access token and renews it when it has expired; safe for threads."""

    def __init__(
        self,
        stored: Callable[[], TokenPair | None],
        renewed: Callable[[TokenPair], TokenPair],
        hosts: Collection[str],
    ) -> None:
        """Take the stored tokens.

        Args:
            stored: The pair as it is stored now; others may renew it, too.
            renewed: Renews the pair it is given, stores and returns the new one.
            hosts: The API's: the only ones that are sent the token.

        Raises:
            Fatal: There are no tokens, or no hosts.
        """
        found = stored()
        if found is None:
            raise Fatal("there are no tokens; put a code into OAUTH2_AUTH_KEYS and run oauth2_authorization.")
        self._pair, self._stored, self._renewed = found, stored, renewed
        self.hosts = own_hosts(hosts)
        self._lock, self._at = threading.Lock(), -60.0

    def secrets(self) -> Iterable[Secret]:
        return (Secret(self._pair.access_token), Secret(self._pair.refresh_token))

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed:
        return Signed(params, {"Authorization": f"Bearer {self._pair.access_token}"})

    def renew(self) -> bool:
        """True: there is another token to try. Somebody else has renewed it already, or it is renewed now."""
        with self._lock:
            if time.monotonic() - self._at < 10:
                return True
            found = self._stored()
            self._pair = found if found and found != self._pair else self._renewed(self._pair)
            self._at = time.monotonic()
            return True
