"""Asks an API whether it accepts a key: the first request of a pull, sent once."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from catalog.core.errors import HttpStatus, KeyRefused, Retry, StopsPull, UnexpectedResponse
from catalog.core.secrets import Secret
from catalog.ingestion.assemble import client_for
from catalog.ingestion.client import Client
from catalog.ingestion.provider import Provider
from catalog.ingestion.sender import Limits
from catalog.ingestion.windows import day_window

REFUSALS = (401, 403)
LIMITS = Limits(connect=5, read=15, total=30)

Verdict = Literal["accepted", "refused", "not asked", "unclear"]


class Answer(NamedTuple):
    """What an API says about a key.

    Attributes:
        verdict: `accepted`: the request succeeded; `refused`: status 401 or 403, or an answer that says so;
            `not asked`: no answer, or one that is temporary (429, 5xx, a firewall's); `unclear`: any other.
        reason: Why it is not accepted, without the key; "" if it is.
    """

    verdict: Verdict
    reason: str = ""


class _Answered(StopsPull):
    """The one request was answered, and another one is about to be sent."""


class _Once:
    """A rate limit that permits a single request."""

    def __init__(self) -> None:
        self._sent = False

    def wait(self) -> None:
        if self._sent:
            raise _Answered("one request is enough")
        self._sent = True


def ask(
    cls: type[Provider], key: Secret, *, contact: str | None = None, private_hosts: Collection[str] = ()
) -> Answer:
    """Send the first request of a pull, of yesterday if the provider is dated, and judge the answer.

    Nothing is stored, and nothing is sent again. The provider's `Quota` does not count the request.

    Args:
        cls: The provider, which has a key.
        key: The value of the key.
        contact: The operator's address, for the User-Agent.
        private_hosts: Names of hosts that may have private addresses.
    """
    client = client_for(
        cls, key, throttle=_Once(), contact=contact, private_hosts=private_hosts, retries=0, limits=LIMITS
    )
    try:
        _first_request(cls, client)
    except _Answered:
        return Answer("accepted")
    except Exception as error:  # code of a provider met an answer that it does not know
        return Answer(_verdict(error), client.redact(f"{error}" or type(error).__name__))
    return Answer("accepted")


def _first_request(cls: type[Provider], client: Client) -> None:
    """Send the requests of a pull up to its first page; the client permits one."""
    provider = cls()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    window = provider.requested(day_window(yesterday)) if cls.dated else None
    first = next(iter(provider.rounds(client, window)))
    if client.requests:
        return
    pages = provider.pages
    sent = {k: v for k, v in {**provider.params, **first}.items() if k not in pages.own_params}
    pages.fetch(client, pages.start(first), sent)


def _verdict(error: Exception) -> Verdict:
    if isinstance(error, KeyRefused) or (isinstance(error, HttpStatus) and error.status in REFUSALS):
        return "refused"
    if isinstance(error, Retry) and not isinstance(error, UnexpectedResponse):
        return "not asked"
    return "unclear"
