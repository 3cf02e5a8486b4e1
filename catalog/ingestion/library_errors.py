"""The errors of the HTTP libraries, converted to those of the catalog."""

import http.client
import re
from collections.abc import Callable

import requests
import urllib3
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from catalog.core.errors import BadAddress, Retry
from catalog.ingestion.deadline import Deadline

# The errors of the libraries below a client. A ValueError concerns the URL: a label that is too long, an
# unknown scheme, unbalanced brackets.
LIBRARY_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
# The connection in front of a message; the request is named anyway.
_CONNECTION = re.compile(r"^\w+\(host='[^']*', port=\d+\): ")


def to_catalog_error(
    error: Exception, until: Deadline, redact: Callable[[str], str], request: str
) -> Retry | BadAddress:
    """Convert an error of the libraries to one of the catalog.

    Args:
        error: One of `LIBRARY_ERRORS`.
        until: The deadline that was in force.
        redact: Removes the secrets from text.
        request: Method and URL, for the message.
    """
    cause = _cause(error)
    text = redact(f"{type(cause).__name__}: {_CONNECTION.sub('', str(cause))}")[:800]
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return BadAddress(f"{request}: {text}")
    if until.passed():
        return Retry(f"the response was not complete after {until.seconds:g} s")
    if isinstance(error, urllib3.exceptions.DecodeError):
        return Retry(f"the body could not be decompressed: {text}")
    return Retry(text)


def _cause(error: BaseException) -> BaseException:
    """Return the innermost error of a library; those around it repeat it with addresses of objects."""
    inner = (getattr(error, "reason", None), *error.args)
    found = next((e for e in inner if isinstance(e, Exception)), None)
    return error if found is None else _cause(found)


def is_unsent(error: Exception) -> bool:
    """Return whether there was no connection, so that the server cannot have received the request."""
    return isinstance(_cause(error), (ConnectTimeoutError, NewConnectionError))
