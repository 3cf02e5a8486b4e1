"""The errors of the catalog, named by what to do about them.

The HTTP client raises only `Retry` and `Fatal`, and subclasses of these. A record that cannot be kept is not
an error but a value (`Skip`, or a reject with its reason), so one bad record never fails a page.
"""

from datetime import datetime

GONE = frozenset((404, 410))  # HTTP statuses


class CatalogError(Exception):
    """Base class of all errors but `Refused`. The message is safe to show: it holds no secrets."""


class Retry(CatalogError):
    """The same request may succeed later: a timeout, a 5xx, a body that is not JSON.

    Attributes:
        retry_after: Seconds that the server asked to wait, if it did.
        status: The HTTP status, if it is the reason.
    """

    def __init__(self, message: str, retry_after: float | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after, self.status = retry_after, status


class Fatal(CatalogError):
    """Another attempt would fail, too: a bad key, a refused request, a response of unknown form."""


class HttpStatus(Fatal):
    """A non-retryable HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_gone(self) -> bool:
        """Whether what was requested does not exist, or no longer."""
        return self.status in GONE


class UnexpectedResponse(Retry):
    """A response with status 200 that lacks required parts, or reports an error of the API."""


class BadAddress(Fatal):
    """An address that cannot be requested: malformed, or not on the public internet."""


class PrivateAddress(BadAddress):
    """The address of a host that is not on the public internet."""


class StopsPull(Fatal):
    """The whole pull cannot continue; never skipped with a page, and never the reject of a single item."""


class MissingKey(StopsPull):
    """The provider needs a key and none is set; the message names the Variable and where to get a key."""


class KeyRefused(StopsPull):
    """The API says, in a response with status 200, that it does not accept the key."""


class UnrecordedRequest(StopsPull):
    """A replay requested something that its recording does not contain."""


class LoopDetected(StopsPull):
    """The API returned the same page or token again, or an endless series of pages."""


class QuotaExhausted(StopsPull):
    """The provider's quota is used up until `resumes_at`."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class Later(CatalogError):
    """What is left can be done only after `resumes_at`; what is done is saved."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class Interrupted(CatalogError):
    """Stopped by a signal (deployment, Ctrl-C); the next attempt resumes after the last complete page."""


class Fenced(StopsPull):
    """Another attempt of the same pull has taken over; this one must stop writing."""


class SkippedErrors(CatalogError):
    """A pull reached its end, but skipped pages whose errors it was configured to skip."""


class NotWhole(SkippedErrors):
    """A pull reached its end but read less than the API announced, or less than usual."""


class DetailsAway(NotWhole):
    """A pull read everything but the details of some items, for which the API did not answer."""


class Refused(ValueError):
    """A person asked for something that is not allowed; the message names the part and the reason."""
