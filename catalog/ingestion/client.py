"""The HTTP client of all providers: retries, checked JSON, and errors that say what to do.

It retries connection errors, timeouts, truncated bodies, 408, 425, 429, 5xx, and a 200 whose body is not the
expected JSON or reports an error. `Retry-After` is honoured up to a cap; otherwise the wait doubles, with
jitter. All other 4xx are `Fatal` at once. One attempt is the subject of `sender.py`.
"""

import logging
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from requests.adapters import BaseAdapter

from catalog.core.errors import CatalogError, Fatal, HttpStatus, Retry, StopsPull, UnexpectedResponse
from catalog.core.jsontypes import Json, Params
from catalog.ingestion.credentials import Credentials
from catalog.ingestion.file_facts import FileFacts, file_size
from catalog.ingestion.http_response import Decoded, Response
from catalog.ingestion.rate import LocalThrottle, Rate, Throttle
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.response_errors import raise_for_reported_error
from catalog.ingestion.retries import RetryPolicy
from catalog.ingestion.sender import Limits, Sender
from catalog.ingestion.signing import Signer
from catalog.ingestion.transport import Transport
from catalog.ingestion.user_agent import USER_AGENT

log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")
Check = Callable[[Json], None]  # raises Retry or Fatal if a body reports an error


class Client:
    """Sends requests for one pull."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        retries: int = 3,
        rate: Rate | None = None,
        throttle: Throttle | None = None,
        transport: BaseAdapter | None = None,
        limits: Limits | None = None,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
        private_hosts: Collection[str] = (),
        blocking_statuses: Mapping[int, float] | None = None,
    ) -> None:
        """Create a client.

        Args:
            headers: Sent with every request.
            credentials: Sign the requests to the API (`keyed`) that go to its own hosts. Their secrets are
                redacted from all messages.
            retries: Attempts after the first one.
            rate: The API's rate limit, enforced within this process.
            throttle: The API's rate limit, shared with other processes; replaces `rate`.
            transport: A `ReplayAdapter` (no sockets) or a `RecordingAdapter` in place of the network.
            limits: Time and size limits of a request.
            user_agent: Identifies the operator to the API.
            sleep: Waits between attempts.
            private_hosts: Names of hosts that may have private addresses and may receive keys over http, such
                as an API inside the operator's network.
            blocking_statuses: Status → minimum wait in seconds. A response of the API with such a status and
                without JSON comes from a firewall in front of it and is temporary.
        """
        self.replayed = isinstance(transport, ReplayAdapter)
        self.source: str | None = getattr(transport, "source", None)  # of the responses; None: the API
        limits = limits or Limits()
        pause = (lambda _: None) if self.replayed else sleep
        self._policy = RetryPolicy(retries + 1, limits.budget, limits.max_wait, pause)
        signer = Signer(credentials, frozenset(host.lower() for host in private_hosts))
        self.redact = signer.redact
        self._sender = Sender(
            transport or Transport(private_hosts),
            signer,
            throttle or LocalThrottle(rate or Rate(per_second=1)),
            headers={"User-Agent": user_agent, "Accept": "application/json", **(headers or {})},
            limits=limits,
            blocking_statuses=blocking_statuses or {},
        )

    @property
    def requests(self) -> int:
        """Number of requests so far, without redirects."""
        return self._sender.requests

    def get_json(
        self,
        url: str,
        params: Params | None = None,
        *,
        check: Check | None = None,
        may_fail: bool = False,
        json: Json = None,
    ) -> Json:
        """Send a request like `get_decoded` and return the JSON of the response."""
        return self.get_decoded(url, params, check=check, may_fail=may_fail, json=json).body

    def get_decoded(
        self,
        url: str,
        params: Params | None = None,
        *,
        check: Check | None = None,
        may_fail: bool = False,
        json: Json = None,
    ) -> Decoded:
        """Send a GET request to the API; return the JSON and the headers of the response.

        The request is signed, if it goes to the API's own hosts, and counts against the API's rate limit.

        Args:
            url: The URL; an existing query is kept.
            params: Query parameters.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.
            may_fail: Return a response that reports an error (`error`, `errors`, `success: false`) for the
                caller to interpret.
            json: A body, for an API that is searched by POST; it may be sent more than once.

        Raises:
            Fatal: Another attempt cannot help: `HttpStatus` for a 4xx, `BadAddress` for an address that
                cannot be requested.
            Retry: All attempts failed.
        """
        method = "GET" if json is None else "POST"
        request = f"{method} {url}"

        def repaired(complaint: str) -> None:
            text = f"{request}: the response is not strict JSON and was repaired: {complaint}"
            log.warning("%s", self.redact(text))

        def judge(body: Json) -> None:
            if not may_fail:
                raise_for_reported_error(body, self.redact)
            if check:
                check(body)

        def once() -> Decoded:
            answer = self._sender.send(method, url, params, keyed=True, json=json)
            body = answer.json(repaired)
            _apply(judge, body)
            return Decoded(body, answer.headers)

        return self._retrying(request, once)

    def get(self, url: str, params: Params | None = None) -> Response:
        """Send a GET request to any server and follow redirects; the body is not interpreted.

        Raises like `get_decoded`.
        """
        return self._retrying(f"GET {url}", lambda: self._sender.send("GET", url, params, keyed=False))

    def head(self, url: str, params: Params | None = None, *, keyed: bool = False) -> Response:
        """Send a HEAD request, `keyed` if it goes to the API, and follow redirects.

        Raises like `get_decoded`.
        """
        return self._retrying(f"HEAD {url}", lambda: self._sender.send("HEAD", url, params, keyed=keyed))

    def file_facts(self, url: str) -> FileFacts:
        """Request the facts of a file. Raises only StopsPull; after other errors they are unknown."""
        try:
            return FileFacts(size=file_size(self.head(url)))
        except StopsPull:
            raise
        except HttpStatus as error:
            return FileFacts(deleted=error.is_gone)
        except (Fatal, Retry):
            return FileFacts()

    def map(self, function: Callable[[T], U], items: Iterable[T], concurrency: int = 4) -> list[U]:
        """Apply a function to items in parallel, within the rate limit; return the results in order."""
        listed = list(items)
        if len(listed) < 2 or concurrency < 2:
            return [function(item) for item in listed]
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(function, listed))

    def _retrying(self, what: str, once: Callable[[], T]) -> T:
        before = ""

        def failed(number: int, error: BaseException | None) -> None:
            nonlocal before
            said, before = "the same" if str(error) == before else f"{error}", str(error)
            log.warning("%s", self.redact(f"{what}, attempt {number} of {self._policy.attempts}: {said}"))

        try:
            return self._policy.run(once, failed)
        except (Retry, Fatal) as error:
            text = f"{what}: {error}" if isinstance(error, Retry) else str(error)
            error.args = (self.redact(text),)
            raise error from None


def _apply(judge: Check, body: Json) -> None:
    """Judge a body, whatever it holds.

    Raises:
        CatalogError: The check raised it.
        UnexpectedResponse: The check met a value of a type that it does not expect.
    """
    try:
        judge(body)
    except CatalogError:
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise UnexpectedResponse(
            f"the response has a value of an unexpected type ({type(error).__name__}: {error}, at "
            f"{Path(line.filename).name}, line {line.lineno})"
        ) from error
