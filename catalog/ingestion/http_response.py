"""HTTP responses whose body was read completely, and their JSON."""

from collections.abc import Callable, Mapping
from email.message import Message

import msgspec

from catalog.core.errors import Retry
from catalog.core.jsontypes import Json
from catalog.ingestion.json_reader import read_json


class Response(msgspec.Struct, frozen=True):
    """An HTTP response.

    Attributes:
        status: The status code.
        url: The URL after redirects.
        headers: The headers of the response.
        body: The decompressed body.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self, repaired: Callable[[str], None] | None = None) -> Json:
        """Decode the body as JSON.

        Args:
            repaired: Called with what was wrong with a body that is not strict JSON but can be read.

        Raises:
            Retry: The body is not JSON, such as a proxy's error page or a truncated body.
        """
        try:
            return read_json(self.body, repaired, _charset(self.headers.get("content-type", "")))
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type").partition(";")[0][:100]
            raise Retry(
                f"the response ({self.status}, {kind}, {len(self.body)} bytes) is not JSON: {error}"
            ) from None


def _charset(content_type: str) -> str | None:
    about = Message()
    about["content-type"] = content_type
    return about.get_content_charset()


class Decoded(msgspec.Struct, frozen=True):
    """The decoded JSON of a response, and its headers."""

    body: Json
    headers: Mapping[str, str]
