"""Checks of Jamendo's responses, which report errors with status 200, and requests for its album pages."""

import logging
import re
from collections.abc import Iterable
from functools import cache

from catalog.provider_api import (
    CatalogError,
    Client,
    Fatal,
    HttpStatus,
    Json,
    KeyRefused,
    Raw,
    Retry,
    StopsPull,
    UnexpectedResponse,
    as_count,
    count_at,
    items_at,
    values_at,
)

log = logging.getLogger(__name__)
# Errors that a retry cannot help; https://developer.jamendo.com/v3.0/response-codes
INVALID_ID = 5
PERMANENT = {2, 3, 4, 7, 8, 9, 11, 12, 13}
LIMIT = 6
WAIT = 60.0  # seconds after the rate limit was exceeded
MAX_ALBUMS = 10_000
MAX_FAULTS = 5


def check(body: Json) -> None:
    """Check the envelope of a response.

    Raises:
        KeyRefused: The client id is invalid.
        Fatal: The API refuses the request.
        Retry: The API reports another error, or the number of tracks differs from the announced one.
    """
    headers = values_at(body, "headers")
    if headers.get("status") not in ("success", "succeed"):
        code, text = as_count(headers.get("code")), str(headers.get("error_message"))[:300]
        said = f"Jamendo answered status {headers.get('status')!r}, code {headers.get('code')!r}: {text}"
        if code == INVALID_ID:
            raise KeyRefused(said)
        if code in PERMANENT:
            raise Fatal(said)
        raise Retry(said, WAIT) if code == LIMIT else UnexpectedResponse(said)
    listed, counted = len(items_at(body, "results")), count_at(body, "headers.results_count")
    if listed != counted:
        raise UnexpectedResponse(f"`results` has {listed} tracks, but `headers.results_count` is {counted}")
    if headers.get("warnings"):
        _warn(str(headers["warnings"])[:300])


@cache
def _warn(text: str) -> None:
    """Log a warning of the API once, such as that it ignores a parameter."""
    log.warning("Jamendo warns: %s", text)


def album_page(track: Raw) -> str | None:
    """Derive an album's URL from its name; the site redirects to the real one."""
    if not isinstance(track, dict) or not track.get("album_id") or not track.get("album_name"):
        return None
    slug = re.sub("[ /]", "-", str(track["album_name"]).lower()).replace("--", "")
    return f"https://www.jamendo.com/album/{track['album_id']}/{slug}"


class Albums:
    """A cache of album URLs after redirects."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}  # URL made from the name → real one; None if there is none
        self._faults = 0  # consecutive errors; approximate, as several threads request pages

    def addresses(self, pages: Iterable[str], client: Client) -> dict[str | None, str | None]:
        """Look up the real URLs of albums.

        An album that the site does not have gets None, and so does one whose request failed; the latter is
        requested again with the album's next tracks. After five consecutive failures, the remaining albums
        are not requested in this call.

        Args:
            pages: URLs made from names.
            client: Sends the requests.
        """
        if len(self._known) > MAX_ALBUMS:
            self._known.clear()
        self._faults = 0
        wanted = sorted(set(pages))
        client.map(lambda page: self._learn(page, client), [p for p in wanted if p not in self._known])
        return {page: self._known.get(page) for page in wanted}

    def _learn(self, page: str, client: Client) -> None:
        if self._faults >= MAX_FAULTS:
            return
        try:
            found = client.get(page).url
        except StopsPull:
            raise
        except CatalogError as error:
            if isinstance(error, HttpStatus) and error.is_gone:
                self._known[page], self._faults = None, 0
            else:
                self._faults += 1
            return
        album = page.rpartition("/")[0].rpartition(".com")[2]  # `/album/<id>`
        self._known[page], self._faults = found if f"{album}/" in f"{found}/" else None, 0
