"""Errors of an ingestion, named by what to do about them.

`Retry` and `Fatal` are the only two that leave the HTTP client. A record that cannot be kept is not an error but a value
(`Skip`, or a reject with its reason), so that one bad record never costs a page.
"""

from datetime import datetime


class CatalogError(Exception):
    """Anything that stops a pull. Its text is safe to show: secrets were taken out before it was made."""


class Retry(CatalogError):
    """The same request may succeed later: a time-out, a 5xx, a body that is no JSON.

    retry_after: seconds the server asked us to wait, if it did.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fatal(CatalogError):
    """Asking again cannot help: a bad key, a request the API refuses, an answer in an unknown shape."""


class HttpStatus(Fatal):
    """A 4xx that will not go away. `status` lets a caller treat 404 and 410 as "gone"."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnexpectedAnswer(Retry):
    """A 200 that lacks what a good answer holds, or reports a failure of the API's own."""


class BadAddress(Fatal):
    """An address that cannot be asked: malformed, or not on the public internet. The text names the host and why."""


class StopsPull(Fatal):
    """The pull as a whole cannot go on, whatever single request met it; never passed over, never one item's reject."""


class UnansweredRequest(StopsPull):
    """A replayed run asked for something that its recording does not hold."""


class LoopDetected(StopsPull):
    """The API gave the same page or token again, or pages without end."""


class QuotaExhausted(StopsPull):
    """The provider's quota for this period is used up; the pull can go on at `resumes_at`."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class Interrupted(CatalogError):
    """Asked to stop (deploy, Ctrl-C); everything up to the last whole page is kept and the next try goes on there."""


class Fenced(StopsPull):
    """Another try of the same pull has taken over; this one must not write any more."""


class SkippedErrors(CatalogError):
    """A pull reached its end, but pages were skipped on the way because their errors were to be skipped."""


class NotWhole(SkippedErrors):
    """A pull reached its end but brought less than the API announced, or than it usually does."""


class Refused(ValueError):
    """What a person asked for is not allowed; the message says why, and which part it is."""


class MissingKey(StopsPull):
    """The provider needs a key and none was given. The text says which Variable to set and where keys are had."""
