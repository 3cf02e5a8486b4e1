"""OAuth2 with authorization codes: a code, typed in once by a person, is exchanged for a pair of tokens, which are renewed from then on.

RFC 6749, sections 4.1 (codes) and 6 (refreshing).
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session

from catalog.ingestion.errors import Fatal, Retry
from catalog.ingestion.secrets import Redactor, Secret, Signed

TIMEOUT = 30


class OAuth2(msgspec.Struct, frozen=True):
    """Where a person gets a code (in a browser, logged in there), and where codes and refresh tokens are exchanged."""

    authorize_url: str
    token_url: str


class TokenPair(msgspec.Struct, frozen=True):
    """What a provider hands out: one token for requests, one for the next pair."""

    access_token: str
    refresh_token: str


def exchange_code(oauth2: OAuth2, client: Mapping[str, str], code: str) -> TokenPair:
    """The first pair. client: `client_id`, and what else the provider wants (`client_secret`). Raises Fatal or Retry."""
    return _exchange(oauth2, client, [code], lambda session, extra: session.fetch_token(
        oauth2.token_url, grant_type="authorization_code", code=code, timeout=TIMEOUT, **extra))  # fmt: skip


def refresh(oauth2: OAuth2, client: Mapping[str, str], pair: TokenPair) -> TokenPair:
    """The next pair; the one given is worth nothing from then on. Raises Fatal when it is not accepted, Retry when nobody answers."""
    return _exchange(oauth2, client, [pair.refresh_token], lambda session, extra: session.refresh_token(
        oauth2.token_url, refresh_token=pair.refresh_token, timeout=TIMEOUT, **extra))  # fmt: skip


def _exchange(
    oauth2: OAuth2,
    client: Mapping[str, str],
    given: Iterable[str],
    ask: Callable[[OAuth2Session, dict[str, str]], Any],
) -> TokenPair:
    redact = Redactor(Secret(v) for v in (*client.values(), *given) if v)
    extra = {k: v for k, v in client.items() if k not in ("client_id", "client_secret")}
    how = "client_secret_post"
    session = OAuth2Session(client["client_id"], client.get("client_secret"), token_endpoint_auth_method=how)
    try:
        answer = ask(session, extra)
    except AuthlibBaseError as error:
        raise Fatal(redact(f"{oauth2.token_url} refused: {error.error}: {error.description}")) from None
    except (requests.ConnectionError, requests.Timeout) as error:
        raise Retry(redact(f"{oauth2.token_url}: {type(error).__name__}: {error}")) from None
    except (requests.HTTPError, ValueError) as error:
        status = (
            error.response.status_code
            if isinstance(error, requests.HTTPError) and error.response is not None
            else 0
        )
        kind = Retry if status >= 500 or status == 429 or isinstance(error, ValueError) else Fatal
        raise kind(redact(f"{oauth2.token_url}: {type(error).__name__}: {error}")) from None
    try:
        return TokenPair(answer["access_token"], answer.get("refresh_token") or "")
    except (KeyError, AttributeError):
        raise Fatal(f"{oauth2.token_url} answered without an access token") from None


class BearerCredentials:
    """Signs requests by an access token and renews it when it has expired; safe for threads.

    stored: the pair as it is stored now (others may renew it, too). renewed: renews the pair it is given, stores and returns the new one.
    """

    def __init__(
        self, stored: Callable[[], TokenPair | None], renewed: Callable[[TokenPair], TokenPair]
    ) -> None:
        found = stored()
        if found is None:
            raise Fatal("there are no tokens; put a code into OAUTH2_AUTH_KEYS and run oauth2_authorization.")
        self._pair, self._stored, self._renewed = found, stored, renewed
        self._lock, self._at = threading.Lock(), -60.0

    def secrets(self) -> Iterable[Secret]:
        return (Secret(self._pair.access_token), Secret(self._pair.refresh_token))

    def sign(self, url: str, params: Mapping[str, Any]) -> Signed:
        return Signed(params, {"Authorization": f"Bearer {self._pair.access_token}"})

    def renew(self) -> bool:
        """True when there is another token to try: another thread or process has renewed it meanwhile, or it is renewed now."""
        with self._lock:
            if time.monotonic() - self._at < 10:
                return True
            found = self._stored()
            self._pair = found if found and found != self._pair else self._renewed(self._pair)
            self._at = time.monotonic()
            return True
