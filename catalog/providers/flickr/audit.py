"""Finds institutions of the Flickr Commons with many freely licensed photos but without a source name.

API: https://www.flickr.com/services/api/flickr.commons.getInstitutions.html
"""

from collections.abc import Callable

import msgspec

from catalog.provider_api import Client, Json, JsonObject, dig, items_at, request_count
from catalog.providers.flickr.provider import SOURCES
from catalog.providers.flickr.search import LICENSES, TOTAL, check

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
        CatalogError: A request failed, or a response lacks the list of institutions or a total.
    """
    body = client.get_json(ENDPOINT, {**COMMON, "method": "flickr.commons.getInstitutions"}, check=check_list)
    known = SOURCES.keys() | EXCLUDED.keys()
    institutions = [
        (str(dig(i, "name", "_content") or "").strip(), dig(i, "nsid")) for i in items_at(body, INSTITUTIONS)
    ]
    new = [
        (name, nsid) for name, nsid in institutions if name and isinstance(nsid, str) and nsid not in known
    ]
    found = []
    for number, (name, nsid) in enumerate(new, 1):
        photos = licensed_photos(client, nsid)
        progress(number, len(new))
        if photos >= ENOUGH:
            found.append(Suggestion(name, nsid, photos))
    return sorted(found, key=lambda s: -s.photos)


def check_list(body: Json) -> None:
    """Raise UnexpectedResponse if a response has no list of institutions; otherwise raise like `check`."""
    check(body)
    items_at(body, INSTITUTIONS)


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
