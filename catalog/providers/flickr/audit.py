"""Finds institutions of the Flickr Commons with many freely licensed photos but without a source name.

API: https://www.flickr.com/services/api/flickr.commons.getInstitutions.html
"""

import logging
from collections.abc import Callable

import msgspec

from catalog.provider_api import Client, Json, JsonObject, UnexpectedResponse, dig, items_at, request_count
from catalog.providers.flickr.provider import SOURCES
from catalog.providers.flickr.search import LICENSES, TOTAL, check

log = logging.getLogger(__name__)

ENDPOINT = "https://www.flickr.com/services/rest"
INSTITUTIONS = "institutions.institution"
COMMON = {"format": "json", "nojsoncallback": 1}
ENOUGH = 300  # photos; many members have only works without known restrictions, which is not a license
EXCLUDED = {
    "61270229@N05": "graphic medical imagery",
    "126377022@N07": "Internet Archive Book Images: nothing uploaded since 2015, never ingested",
}


class Suggestion(msgspec.Struct, frozen=True):
    """An institution to consider.

    Attributes:
        name: Name of the institution.
        nsid: Identifier of its account.
        photos: Number of its photos under accepted licenses.
    """

    name: str
    nsid: str
    photos: int


def suggestions(client: Client, progress: Callable[[int, int], None] = lambda *_: None) -> list[Suggestion]:
    """Return institutions that deserve a source name.

    Args:
        client: Sends the requests.
        progress: Called after each institution with its number and the number of all institutions to check.

    Returns:
        Institutions with at least `ENOUGH` photos, ordered by the number of photos, largest first.

    Raises:
        CatalogError: A request failed, or a response lacks institutions or a total.
    """
    body = client.get_json(ENDPOINT, {**COMMON, "method": "flickr.commons.getInstitutions"}, check=check_list)
    known = SOURCES.keys() | EXCLUDED.keys()
    new = [(name, nsid) for name, nsid in institutions(body) if nsid not in known]
    found = []
    for number, (name, nsid) in enumerate(new, 1):
        photos = licensed_photos(client, nsid)
        progress(number, len(new))
        if photos >= ENOUGH:
            found.append(Suggestion(name, nsid, photos))
    return sorted(found, key=lambda s: -s.photos)


def check_list(body: Json) -> None:
    """Raise UnexpectedResponse if a response names no institution; otherwise raise like `check`.

    The Commons have had members since 2008, so an empty list says that something else has changed.
    """
    check(body)
    if not institutions(body):
        raise UnexpectedResponse(f"`{INSTITUTIONS}` has no institution with a name and an nsid")


def institutions(body: Json) -> list[tuple[str, str]]:
    """Return the name and the account of each institution that has both."""
    found = []
    for raw in items_at(body, INSTITUTIONS):
        name, nsid = dig(raw, "name", "_content"), dig(raw, "nsid")
        if isinstance(name, str) and name.strip() and isinstance(nsid, str) and nsid:
            found.append((name.strip(), nsid))
        else:
            log.warning("an institution without a name or an nsid is not looked at: %s", str(raw)[:200])
    return found


def licensed_photos(client: Client, nsid: str) -> int:
    """Count the photos of an account under the accepted licenses.

    Each license is counted separately, because Flickr returns 0 for an account with several licenses.
    """

    def count(license_id: str) -> int:
        params: JsonObject = {
            **COMMON,
            "method": "flickr.photos.search",
            "media": "photos",
            "safe_search": 1,
            "license": license_id,
            "user_id": nsid,
        }
        return request_count(client, ENDPOINT, params, TOTAL, check=check)

    return sum(client.map(count, LICENSES))
