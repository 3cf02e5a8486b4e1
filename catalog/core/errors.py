"""Errors of the catalog, named by what to do about them.

`Retry` and `Fatal` are the only two that leave the HTTP client. A record that cannot be kept is not an error
but a value (`Skip`, or a reject with its reason), so that one bad record never costs a page.
"""

from datetime import datetime


class CatalogError(Exception):
    """Base of all errors. Its text is safe to show: it holds no secrets."""


class Retry(CatalogError):
    """The same request may succeed later: a timeout, a 5xx, a body that is no JSON.

    Attributes:
        retry_after: Seconds that the server asked to wait, if it did.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Fatal(CatalogError):
    """Another attempt cannot help: a bad key, a refused request, a response of unknown form."""


class HttpStatus(Fatal):
    """A non-retryable HTTP status; `status` lets a caller treat 404 and 410 as deleted."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnexpectedAnswer(Retry):
    """A response with status 200 that lacks required parts, or reports an error of the API."""


class BadAddress(Fatal):
    """An address that cannot be requested: malformed, or not on the public internet. The text says why."""


class StopsPull(Fatal):
    """The pull as a whole cannot continue; never skipped, and never the reject of one item."""


class UnansweredRequest(StopsPull):
    """A replay requests something that its recording does not hold."""


class LoopDetected(StopsPull):
    """The API returned the same page or token again, or pages without end."""


class QuotaExhausted(StopsPull):
    """The provider's quota is used up until `resumes_at`."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class Interrupted(CatalogError):
    """Stopped by a signal (deployment, Ctrl-C); the next attempt resumes after the last whole page."""


class Fenced(StopsPull):
    """Another attempt of the same pull has taken over; this one must not write any more."""


class SkippedErrors(CatalogError):
    """A pull reached its end, but skipped pages whose errors were to be skipped."""


class NotWhole(SkippedErrors):
    """A pull reached its end but brought less than the API announced, or than it usually does."""


class Refused(ValueError):
    """A request of a person that is not allowed; the message names the part and the reason."""


class MissingKey(StopsPull):
    """The provider needs a key and none was given. The text names the Variable and where to get a key."""
