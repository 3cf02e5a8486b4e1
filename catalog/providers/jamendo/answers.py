"""What Jamendo answers: errors that come with status 200, and the pages of its albums."""

import logging
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from catalog.core.errors import CatalogError, Fatal, HttpStatus, Retry, StopsPull, UnexpectedAnswer
from catalog.ingestion.answers import as_count, count_at, items_at, values_at
from catalog.ingestion.client import Client
from catalog.ingestion.records import Raw

log = logging.getLogger(__name__)
# https://developer.jamendo.com/v3.0/response-codes; asking again helps with none of these (5: bad id).
PERMANENT = {2, 3, 4, 5, 7, 8, 9, 11, 12, 13}
LIMIT = 6
WAIT = 60.0  # seconds, when the limit is exceeded
MAX_ALBUMS = 10_000
MAX_FAULTS = 5


def check(body: Any) -> None:
    """Look at the envelope of an answer.

    Raises:
        Fatal: The API refuses the request, or our id.
        Retry: It reports another failure, or lists another number of tracks than it says.
    """
    headers = values_at(body, "headers")
    if headers.get("status") not in ("success", "succeed"):
        code, text = as_count(headers.get("code")), str(headers.get("error_message"))[:300]
        said = f"Jamendo answered status {headers.get('status')!r}, code {headers.get('code')!r}: {text}"
        if code in PERMANENT:
            raise Fatal(said)
        raise Retry(said, WAIT) if code == LIMIT else UnexpectedAnswer(said)
    listed, counted = len(items_at(body, "results")), count_at(body, "headers.results_count")
    if listed != counted:
        raise UnexpectedAnswer(f"`results` has {listed} tracks, but `headers.results_count` is {counted}")
    if headers.get("warnings"):
        _warn(str(headers["warnings"])[:300])


@cache
def _warn(text: str) -> None:
    """Log a warning of the API once: that is how it says that it ignores a parameter."""
    log.warning("Jamendo warns: %s", text)


def album_page(track: Raw) -> str | None:
    """An album's address as its name makes it; the site redirects to the real one."""
    if not isinstance(track, dict) or not track.get("album_id") or not track.get("album_name"):
        return None
    slug = re.sub("[ /]", "-", str(track["album_name"]).lower()).replace("--", "")
    return f"https://www.jamendo.com/album/{track['album_id']}/{slug}"


class Albums:
    """The addresses of albums after redirects, as far as the site has told them."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}  # address made from the name → real one, None: gone
        self._faults = 0  # in a row; the pages are asked for by several threads, so it is about right

    def addresses(self, pages: Iterable[str], client: Client) -> dict[str | None, str | None]:
        """Real addresses of albums.

        An album that the site does not have has none. Where the site is at fault, the address is not known
        now; the album's next tracks ask for it again. After five faults in a row the other albums are not
        asked for now.

        Args:
            pages: Addresses made of names.
            client: Asks the site.
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
            if isinstance(error, HttpStatus) and error.status in (404, 410):
                self._known[page], self._faults = None, 0
            else:
                self._faults += 1
            return
        album = page.rpartition("/")[0].rpartition(".com")[2]  # `/album/<id>`
        self._known[page], self._faults = found if f"{album}/" in f"{found}/" else None, 0
