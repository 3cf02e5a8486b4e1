"""The format of recordings: folders with `recording.json` and the body files that it names."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec
import orjson

from catalog.core.errors import Fatal
from catalog.core.jsontypes import Json, JsonObject, keys_in
from catalog.core.secrets import is_secret

FILE = "recording.json"
NO_RESPONSE = 0
# Words of the names of headers that recordings leave out. Such a header says who asked, varies between equal
# responses, or describes the connection, whose encoding the recorded body no longer has.
_UNRECORDED = frozenset(
    """
    cookie cookie2 authenticate authorization session user account client customer visitor device tenant ip
    forwarded nonce csrf xsrf
    date age expires etag modified server via ray trace traceid traceparent tracestate correlation runtime
    timing timer ratelimit served cache varnish amz amzn b3 nel report
    connection keep transfer encoding trailer upgrade
    """.split()
)
_UNRECORDED_NAMES = frozenset("x-request-id request-id x-amz-request-id alt-svc x-powered-by".split())
Query = dict[str, list[str]]  # of a query, in which a name may occur more than once


class RecordedRequest(msgspec.Struct, omit_defaults=True):
    """What tells a request from others."""

    method: str
    url: str
    params: JsonObject
    json: Json = None  # the part of a POST's body that tells it from others

    def listed(self) -> int:
        """Return how many parameters and keys of its body it lists."""
        return len(self.params) + sum(1 for _ in keys_in(self.json))


class RecordedResponse(msgspec.Struct):
    """A response, whose body is in a file of its own."""

    status: int
    headers: dict[str, str]
    body_file: str | None


class Interaction(msgspec.Struct, omit_defaults=True):
    """A request and its response."""

    request: RecordedRequest
    response: RecordedResponse
    times: int | None = None  # number of requests that it serves; None for no limit


class Recording(msgspec.Struct, kw_only=True):
    """The content of a recording.json."""

    provider: str
    date: str | None = None
    about: Json = None  # for people
    interactions: list[Interaction]


def candidate_folders(folder: Path, provider: str) -> tuple[Path, ...]:
    """Return the folders that may hold a provider's recording."""
    return folder, folder / provider, folder / provider / "recording"


def find_recording(folder: Path, provider: str) -> Path:
    """Return the folder of a provider's recording.

    Args:
        folder: `folder`, `<provider>/` or `<provider>/recording/` below it holds the recording.
        provider: The provider's name.

    Raises:
        Fatal: There is no recording, it cannot be read, or it is another provider's.
    """
    candidates = candidate_folders(folder, provider)
    for candidate in candidates:
        if (candidate / FILE).is_file():
            found = read_recording(candidate).provider
            if found != provider:
                raise Fatal(f"replay: the recording in {candidate} is {found}'s, not {provider}'s.")
            return candidate
    raise Fatal(f"replay: no {FILE} for {provider} in {', '.join(map(str, candidates))}.")


def read_recording(folder: Path) -> Recording:
    """Read the recording in a folder. Raises Fatal if it is malformed or a body file is missing."""
    path = folder / FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Recording)
    except (OSError, ValueError) as error:
        raise Fatal(f"replay: {path} is not a recording: {error}") from None
    for number, interaction in enumerate(found.interactions):
        name = interaction.response.body_file
        if name and not (folder / name).is_file():
            raise Fatal(
                f"replay: {path} names the body file {name} (interaction {number}), which is missing."
            )
    return found


def is_recorded(header: str) -> bool:
    """Return whether a recording keeps a header of a response: it may tell the next page, or a total.

    >>> [is_recorded(name) for name in ("X-Next-Cursor", "x-total-pages", "Link", "Retry-After")]
    [True, True, True, True]
    >>> [is_recorded(name) for name in ("Set-Cookie", "X-Auth-Token", "Date", "X-Request-ID")]
    [False, False, False, False]
    """
    words = re.split("[^a-z0-9]+", header.lower())
    return not (is_secret(header) or header.lower() in _UNRECORDED_NAMES or not _UNRECORDED.isdisjoint(words))


def split_query(url: str) -> tuple[str, Query]:
    """Split a URL into the part before the query, and the query."""
    parts = urlsplit(url)
    params: Query = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        params.setdefault(key, []).append(value)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}", params


def json_of(body: object) -> Json:
    """Return the JSON that a request sends; None if it sends none."""
    return orjson.loads(body) if isinstance(body, str | bytes) and body else None
