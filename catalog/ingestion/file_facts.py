"""What the response to a HEAD request says about a media file."""

import msgspec

from catalog.ingestion.http_response import Response
from catalog.ingestion.responses import as_count

WEB_PAGE_TYPES = ("text/html", "application/xhtml+xml")


class FileFacts(msgspec.Struct, frozen=True):
    """The result of a HEAD request for a file.

    Attributes:
        deleted: The server reports 404 or 410; server errors do not count.
        size: In bytes; None if the server does not report it or does not respond.
    """

    deleted: bool = False
    size: int | None = None


def file_size(answer: Response) -> int | None:
    """Return the size of a media file; None if the length is that of something else.

    A compressed response has the length of what is sent, and a page is none of the files that a catalog has,
    but the one to log in, or an error with status 200.
    """
    encoded = answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if encoded or kind in WEB_PAGE_TYPES:
        return None
    return as_count(answer.headers.get("content-length")) or None
