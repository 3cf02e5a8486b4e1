"""What an answer means: good, worth asking again, or final."""

from typing import Any, NoReturn

from catalog.core.errors import HttpStatus, Retry, UnexpectedAnswer
from catalog.core.secrets import Redactor
from catalog.ingestion.answers import seen, steps
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.records import dig

GONE = frozenset((404, 410))
_TEMPORARY = frozenset((408, 425, 429))


def judge_status(
    status: int, excerpt: str, retry_after: float | None, *, request: str, blocked: float | None
) -> NoReturn:
    """Refuse an answer by its status.

    Args:
        status: Of the answer; not a 2xx.
        excerpt: The beginning of its body, without secrets.
        retry_after: Seconds the server asks to wait.
        request: What was asked, for the message.
        blocked: Seconds to wait at least when this answer is a firewall's; None when it is the API's.

    Raises:
        Retry: It may be different next time.
        HttpStatus: It will not.
    """
    if status in _TEMPORARY or status >= 500:
        raise Retry(f"status {status} {excerpt}".strip(), retry_after)
    if blocked is not None:
        text = f"status {status} without JSON, a firewall's: {excerpt}".strip()
        raise Retry(text, max(retry_after or 0.0, blocked))
    raise HttpStatus(f"{request}: status {status} {excerpt}".strip(), status)


def refuse_failure(body: Any, redact: Redactor) -> None:
    """Raises UnexpectedAnswer when the body of a 200 says that the request failed.

    An `error` that is false, null or empty says that it did not.
    """
    if not isinstance(body, dict):
        return
    for key in ("error", "errors"):
        if body.get(key):
            raise UnexpectedAnswer(f"the answer reports an error: {redact.excerpt(str(body[key]), 300)}")
    if body.get("success") is False:
        raise UnexpectedAnswer(f"the answer reports no success; {redact.excerpt(seen(body), 300)}")


def require(body: Any, path: str, redact: Redactor) -> None:
    """Raises UnexpectedAnswer when there is nothing, or null, at a dotted path that every good answer has."""
    if dig(body, *steps(path)) is None:
        raise UnexpectedAnswer(f"`{path}` is missing; {redact.excerpt(seen(body), 600)}")


def is_json(body: bytes) -> bool:
    try:
        read_json(body)
    except ValueError:
        return False
    return True
