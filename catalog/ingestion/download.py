"""Downloads a small file from an address that the operator has set, which may hold secrets itself."""

import zlib
from collections.abc import Mapping
from typing import Any

from catalog.core.errors import Fatal, Retry
from catalog.core.secrets import Redactor, Secret, without_queries, without_secrets
from catalog.ingestion.deadline import deadline
from catalog.ingestion.library_errors import LIBRARY_ERRORS, to_catalog_error
from catalog.ingestion.response_errors import raise_for_status
from catalog.ingestion.retries import retry_after
from catalog.ingestion.sessions import KeyedSession

MAX_BYTES = 64 << 20
TIMEOUT = 60.0  # seconds between two chunks of the response
TOTAL = 600.0  # seconds for the whole response
_CHUNK = 1 << 16  # bytes


def download(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    login: tuple[str, str] | None = None,
    timeout: Any = TIMEOUT,
    **options: Any,
) -> bytes:
    """Return the body of a response. Redirects are followed; another host receives neither headers nor login.

    Args:
        url: The address, which may be private; its query may hold secrets, such as a signature.
        headers: Headers of the request, which may hold secrets.
        login: User and password.
        timeout: Seconds between two chunks of the response, as `requests` takes them.
        **options: Further arguments of `requests.get`: `verify`, `cert`, `proxies`, `allow_redirects`.

    Raises:
        Retry: The server does not respond, has an error of its own, or limits the rate; or the response is a
            part of the file.
        Fatal: The server refuses the request, or the file is larger than `MAX_BYTES`.
    """
    headers = headers or {}
    redactor = Redactor(Secret(value) for value in (*headers.values(), *(login or ())[1:]) if value)

    def redact(text: str) -> str:
        return without_secrets(without_queries(redactor(text)))

    request = f"GET {redact(url)}"
    try:
        with (
            deadline(TOTAL) as until,
            KeyedSession(list(headers)) as session,
            session.get(
                url,
                headers={"Accept-Encoding": "identity", **headers},
                auth=login,
                timeout=timeout,
                stream=True,
                **options,
            ) as response,
        ):
            if 200 < response.status_code < 300:
                raise Retry(f"status {response.status_code} is not that of a complete file")
            if response.status_code != 200:
                wait = retry_after(response.headers)
                # The body of a refusal may repeat what was signed.
                raise_for_status(response.status_code, "", wait, request=request, blocked=None)
            body = bytearray()
            while (chunk := response.raw.read1(_CHUNK, decode_content=False)) and len(body) <= MAX_BYTES:
                until.within(None)
                body += chunk
            body = _decoded(body, response.headers.get("content-encoding", ""))
    except Retry as error:
        raise Retry(f"{request}: {error}", error.retry_after) from None
    except LIBRARY_ERRORS as error:
        found = to_catalog_error(error, until, redact, request)
        raise (Retry(f"{request}: {found}") if isinstance(found, Retry) else found) from None
    if len(body) > MAX_BYTES:
        raise Fatal(f"{request}: the file is larger than {MAX_BYTES:,} bytes")
    return bytes(body)


def _decoded(body: bytearray, encoding: str) -> bytearray:
    """Decompress a body that a server compresses unasked. Raises Retry if it ends early."""
    if encoding.lower() in ("", "identity"):
        return body
    found, rest = bytearray(), bytes(body)
    while rest and len(found) <= MAX_BYTES:
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            found += decoder.decompress(rest, MAX_BYTES + 1 - len(found))
        except zlib.error as error:
            what = f"the body, encoded with {encoding[:40]!r}"
            raise Retry(f"{what}, could not be decompressed: {error}") from None
        if not decoder.eof and len(found) <= MAX_BYTES:
            raise Retry("the compressed body ends early")
        rest = decoder.unused_data  # the next member of a gzip file
    return found
