"""Institutions of the Flickr Commons that have many freely licensed photos and no source name of their own in the catalog yet.

API: https://www.flickr.com/services/api/flickr.commons.getInstitutions.html
"""

from collections.abc import Callable
from typing import Any

import msgspec

from catalog.ingestion import Client, dig
from catalog.ingestion.pagination import items_at
from catalog.providers.flickr.provider import LICENSES, SOURCES, check

ENDPOINT = "https://www.flickr.com/services/rest"
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
    """Those worth a source name, most photos first. progress: institutions looked at, and of how many. Raises what the client raises."""
    body = client.get_json(ENDPOINT, {**COMMON, "method": "flickr.commons.getInstitutions"}, check=check)
    known = SOURCES.keys() | LEFT_OUT.keys()
    institutions = [
        (str(dig(i, "name", "_content") or "").strip(), dig(i, "nsid"))
        for i in items_at(body, "institutions.institution")
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


def licensed_photos(client: Client, nsid: str) -> int:
    """Photos of an account under the accepted licenses. One request a license: with several, and an account, Flickr answers 0."""

    def count(license_id: str) -> int:
        params: dict[str, Any] = {
            **COMMON,
            "method": "flickr.photos.search",
            "media": "photos",
            "safe_search": 1,
        }
        body = client.get_json(ENDPOINT, {**params, "license": license_id, "user_id": nsid}, check=check)
        return int(dig(body, "photos", "total") or 0)

    return sum(client.map(count, LICENSES))
