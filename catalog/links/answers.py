"""What the answer to a request says about a file: there, gone, or neither."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from catalog.core.errors import GONE

Outcome = Literal["there", "gone", "unclear"]
# A page in place of a file. Other types say nothing: file servers label media with almost anything.
PAGES = frozenset(("text/html", "application/xhtml+xml", "application/json"))

TIMEOUT, NO_CONNECTION, NO_NAME, TLS = "timeout", "no connection", "unknown host name", "TLS failed"
SERVER_ERROR, BUSY, REFUSED = "server error", "too many requests", "refused"
PRIVATE, INVALID = "no address on the public internet", "no valid URL"
ROBOTS, NO_ROBOTS, SLOW_ROBOTS, LONG_ROBOTS = (
    "forbidden by robots.txt",
    "robots.txt cannot be read",
    "robots.txt asks for long pauses",
    "robots.txt has too many rules",
)
PAUSED = "not checked: the host asks to wait"  # it is not requested
OTHER_CONTENT, OTHER_STATUS, REDIRECTS = "other content", "other status", "too many redirects"
# Reasons that may pass: the host is asked again after a pause.
PASSING = frozenset((TIMEOUT, NO_CONNECTION, NO_NAME, TLS, SERVER_ERROR, BUSY, PAUSED, NO_ROBOTS))


class Verdict(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        outcome: `gone` only if the server says so.
        reason: Why an outcome is unclear; None otherwise.
        status: HTTP status of the last answer; None without an answer.
        redirect: The last URL, if the first one redirects.
        size: Size of the file in bytes, if the server says it.
        wait: Seconds for which the server asks not to be asked again.
        host: The host that the outcome is about: the last one that was asked; empty: not known.
    """

    outcome: Outcome
    reason: str | None = None
    status: int | None = None
    redirect: str | None = None
    size: int | None = None
    wait: float | None = None
    host: str = ""

    @property
    def passing(self) -> bool:
        """Whether the same check may have another result after a pause."""
        return self.reason in PASSING


def unclear(reason: str, status: int | None = None, wait: float | None = None, host: str = "") -> Verdict:
    return Verdict("unclear", reason, status, wait=wait, host=host)


def judge(status: int, headers: Mapping[str, str], wait: float | None) -> Verdict:
    """Return what an answer says that is not a redirect.

    Args:
        status: Its HTTP status.
        headers: Its headers; their names in any case.
        wait: Seconds of its Retry-After.
    """
    if "cf-mitigated" in headers:  # a challenge of Cloudflare, whatever its status
        return unclear(REFUSED, status)
    if status in GONE:
        return Verdict("gone", None, status) if wait is None else unclear(OTHER_STATUS, status)
    if status == 429 or (status == 503 and wait is not None):
        return unclear(BUSY, status, wait)
    if status >= 500:
        return unclear(SERVER_ERROR, status)
    if status in (401, 403, 407, 451):
        return unclear(REFUSED, status)
    if status not in (200, 203, 206):
        return unclear(OTHER_STATUS, status)
    empty = headers.get("content-length", "").strip() == "0"
    if empty or headers.get("content-type", "").partition(";")[0].strip().lower() in PAGES:
        return unclear(OTHER_CONTENT, status)
    return Verdict("there", None, status, size=_size(status, headers))


def _size(status: int, headers: Mapping[str, str]) -> int | None:
    """Return the size of the whole file: of a part, `Content-Range` says it."""
    if headers.get("content-encoding", "identity") != "identity":
        return None
    if status == 206:
        text = headers.get("content-range", "").rpartition("/")[2]
    else:
        text = headers.get("content-length", "")
    number = int(text) if text.isascii() and text.isdigit() else 0
    return number if 0 < number < 2**63 else None
