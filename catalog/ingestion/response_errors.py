"""Classifies responses: good, temporary failure, or final failure."""

from typing import NoReturn

from catalog.core.errors import HttpStatus, Retry, UnexpectedResponse
from catalog.core.jsontypes import Json
from catalog.core.secrets import Redactor
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.responses import describe

_TEMPORARY = frozenset((408, 425, 429))


def is_temporary(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in _TEMPORARY or status >= 500


def raise_for_status(
    status: int, excerpt: str, retry_after: float | None, *, request: str, blocked: float | None
) -> NoReturn:
    """Raise the error for a status that is not 2xx.

    Args:
        status: The status code.
        excerpt: The beginning of the body, without secrets.
        retry_after: Seconds that the server asks to wait, if it does.
        request: Method and URL, for the message.
        blocked: Minimum wait in seconds if the response is a firewall's; None if it is the API's.

    Raises:
        Retry: The failure is temporary.
        HttpStatus: The failure is final.
    """
    if is_temporary(status):
        raise Retry(f"status {status} {excerpt}".strip(), retry_after, status=status)
    if blocked is not None:
        text = f"status {status} without JSON, a firewall's: {excerpt}".strip()
        raise Retry(text, max(retry_after or 0.0, blocked))
    raise HttpStatus(f"{request}: status {status} {excerpt}".strip(), status)


def raise_for_reported_error(body: Json, redact: Redactor) -> None:
    """Check that the body of a 200 reports no error; an `error` that is false, null or empty is none.

    Raises:
        UnexpectedResponse: The body reports an error.
    """
    if not isinstance(body, dict):
        return
    for key in ("error", "errors"):
        if body.get(key):
            raise UnexpectedResponse(f"the response reports an error: {redact.excerpt(str(body[key]), 300)}")
    if body.get("success") is False:
        raise UnexpectedResponse(f"the response reports no success; {redact.excerpt(describe(body), 300)}")


def is_json(body: bytes) -> bool:
    try:
        read_json(body)
    except ValueError:
        return False
    return True
