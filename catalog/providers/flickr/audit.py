"""Institutions of the Flickr Commons with many freely licensed photos and no source name of their own yet.

API: https://www.flickr.com/services/api/flickr.commons.getInstitutions.html
"""

from collections.abc import Callable
from typing import Any

import msgspec

from catalog.ingestion.answers import count_at, items_at
from catalog.provider_api import Client, dig
from catalog.providers.flickr.provider import SOURCES
from catalog.providers.flickr.search import LICENSES, check, check_total

ENDPOINT = "https://www.flickr.com/services/rest"
INSTITUTIONS = "institutions.institution"
COMMON = {"format": "json", "nojsoncallback": 1}
ENOUGH = 300  # photos; many members only hold works without known restrictions, which is no license
LEFT_OUT = {
    "61270229@N05": "graphic medical imagery",
    "126377022@N07": "Internet Archive Book Images: nothing uploaded since 2015, never ingested",
}


class Suggestion(msgspec.Struct, frozen=True):
    """An institution to consider, and how many of its photos the catalog could hold."""

    name: str
    nsid: str
    photos: int


def suggestions(client: Client, progress: Callable[[int, int], None] = lambda *_: None) -> list[Suggestion]:
    """Institutions that are worth a source name.

    Args:
        client: Sends the requests.
        progress: Called after each institution with its number and the number of all that are looked at.

    Returns:
        Those with at least `ENOUGH` photos, most photos first.

    Raises:
        CatalogError: As the client; an answer without the list of institutions, or a total, is an error.
    """
    body = client.get_json(ENDPOINT, {**COMMON, "method": "flickr.commons.getInstitutions"}, check=check_list)
    known = SOURCES.keys() | LEFT_OUT.keys()
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


def check_list(body: Any) -> None:
    """Raise when an answer holds no list of institutions. Raises what `check` raises."""
    check(body)
    items_at(body, INSTITUTIONS)


def licensed_photos(client: Client, nsid: str) -> int:
    """Photos of an account under the accepted licenses.

    They are counted license by license: for several together, and an account, Flickr answers 0.
    """

    def count(license_id: str) -> int:
        params: dict[str, Any] = {
            **COMMON,
            "method": "flickr.photos.search",
            "media": "photos",
            "safe_search": 1,
            "license": license_id,
            "user_id": nsid,
        }
        return count_at(client.get_json(ENDPOINT, params, check=check_total), "photos.total")

    return sum(client.map(count, LICENSES))
