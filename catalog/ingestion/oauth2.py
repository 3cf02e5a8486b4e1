"""OAuth2 with authorization codes: a person enters a code once, which is exchanged for renewable tokens.

See RFC 6749, sections 4.1 (authorization codes) and 6 (refreshing tokens).
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
from catalog.core.jsontypes import JsonObject, Params
from catalog.core.secrets import Redactor, Secret
from catalog.ingestion.addresses import host_of
from catalog.ingestion.credentials import Signed, own_hosts
from catalog.ingestion.deadline import deadline
from catalog.ingestion.library_errors import LIBRARY_ERRORS, to_catalog_error
from catalog.ingestion.response_errors import is_temporary
from catalog.ingestion.retries import retry_after
from catalog.ingestion.transport import Transport

TIMEOUT = 30  # seconds between two chunks of a response
TOTAL = 60  # seconds for a whole response


class OAuth2(msgspec.Struct, frozen=True):
    """The OAuth2 endpoints of a provider.

    Attributes:
        authorize_url: The page where a logged-in person gets a code.
        token_url: The endpoint that exchanges codes and refresh tokens.
        private_hosts: Names of hosts that replace the provider's: they may have private addresses and be
            requested over http.
    """

    authorize_url: str
    token_url: str
    private_hosts: tuple[str, ...] = ()


class TokenPair(msgspec.Struct, frozen=True):
    """An access token for requests, and a refresh token to get the next pair.

    Either may be "": the refresh token gets the next access token, and a server may let the old refresh token
    go on (RFC 6749, section 6).
    """

    access_token: str
    refresh_token: str


def usable(token: object) -> str:
    """Return a token that a request can carry; "" for anything else (RFC 6749, appendix A.12)."""
    fits = isinstance(token, str) and token.isascii() and token.isprintable() and token == token.strip()
    return str(token) if fits else ""


def exchange_code(oauth2: OAuth2, client: Mapping[str, str], code: str) -> TokenPair:
    """Exchange an authorization code for the first pair of tokens.

    Args:
        oauth2: The provider's endpoints.
        client: `client_id`, and whatever else the provider requires (`client_secret`).
        code: The authorization code; it can be used once.

    Raises:
        Fatal: The code is refused, no token came, or `token_url` is not safe for secrets.
        Retry: The server does not respond, has an error of its own, or limits the rate.
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
    """Exchange a pair of tokens for the next one; `pair` becomes invalid.

    Args:
        oauth2: The provider's endpoints.
        client: As for `exchange_code`.
        pair: The current tokens.

    Raises:
        Fatal: The refresh token is refused, no token came, or `token_url` is not safe for secrets.
        Retry: The server does not respond, has an error of its own, or limits the rate.
    """
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
    given: Collection[str],
    ask: Callable[[OAuth2Session, JsonObject], Any],
) -> TokenPair:
    url = oauth2.token_url
    if not url.lower().startswith("https:") and host_of(url) not in oauth2.private_hosts:
        raise Fatal(f"{url}: secrets are sent over https only.")
    redact = Redactor(Secret(v) for v in (*client.values(), *given) if v)
    extra = {k: v for k, v in client.items() if k not in ("client_id", "client_secret")}
    # A redirect would send the secrets in the body to another address.
    sent = {**extra, "timeout": TIMEOUT, "allow_redirects": False}
    try:
        with deadline(TOTAL) as until, _session(oauth2, client) as session:
            answer = ask(session, sent)
    except AuthlibBaseError as error:
        raise Fatal(redact(f"{url} refused: {error.error}: {error.description}")) from None
    except requests.HTTPError as error:  # a 4xx without a JSON object
        raise Fatal(redact(f"{url}: {type(error).__name__}: {error}")) from None
    except LIBRARY_ERRORS as error:
        if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
            raise Retry(redact(f"{url}: {error}")) from None  # the response is not a JSON object
        raise to_catalog_error(error, until, redact, url) from None
    pair = TokenPair(usable(answer.get("access_token")), usable(answer.get("refresh_token")))
    if not pair.access_token and pair.refresh_token in ("", *given):  # Authlib adds the one that was sent
        raise Fatal(f"{url} answered without a usable access token")
    return pair


def _session(oauth2: OAuth2, client: Mapping[str, str]) -> OAuth2Session:
    how = "client_secret_post"
    session = OAuth2Session(client["client_id"], client.get("client_secret"), token_endpoint_auth_method=how)
    for scheme in ("https://", "http://"):
        session.mount(scheme, Transport(oauth2.private_hosts))
    for hook in ("access_token_response", "refresh_token_response"):
        session.register_compliance_hook(hook, _judge)
    return session


def _judge(response: requests.Response) -> requests.Response:
    """Return a response that is about the code or token; a limited rate or a server's error is not.

    Authlib judges by the body alone.

    Raises:
        Retry: The status is temporary.
    """
    if is_temporary(response.status_code):
        wait = retry_after(response.headers)
        raise Retry(f"{response.url}: status {response.status_code}", wait)
    return response


class BearerCredentials:
    """Signs requests with an access token, which is renewed when it has expired; thread-safe."""

    def __init__(
        self,
        stored: Callable[[], TokenPair | None],
        renewed: Callable[[TokenPair], TokenPair],
        hosts: Collection[str],
    ) -> None:
        """Load the stored tokens.

        Args:
            stored: Returns the pair that is currently stored; other processes may renew it, too.
            renewed: Renews the given pair, stores the new one and returns it.
            hosts: The API's hosts, the only ones that receive the token.

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

    def sign(self, url: str, params: Params) -> Signed:
        return Signed(params, {"Authorization": f"Bearer {self._pair.access_token}"})

    def renew(self) -> bool:
        """Renew the token unless another thread or process has; return True, as there is a new one."""
        with self._lock:
            if time.monotonic() - self._at < 10:
                return True
            stored = self._stored()
            self._pair = stored if stored and stored != self._pair else self._renewed(self._pair)
            self._at = time.monotonic()
            return True
