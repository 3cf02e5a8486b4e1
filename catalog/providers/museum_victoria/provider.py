"""Museums Victoria: images of its collections under Creative Commons licenses or in the public domain.

The search is walked once for each license. It finds objects that hold at least one image under it, so each image's own license decides,
and an object found again under another license is passed over. https://collections.museumsvictoria.com.au/developers
"""

from datetime import date
from typing import Any

from catalog.ingestion import (
    Client,
    Counted,
    Image,
    Mapped,
    Provider,
    Rate,
    Raw,
    Skip,
    Window,
    compact,
    dig,
    license_from_url,
    missing,
)

LICENSES = ("public domain", "cc by", "cc by-nc", "cc by-nc-sa", "cc by-nc-nd", "cc by-sa")
SITE = "https://collections.museumsvictoria.com.au/"


class MuseumVictoria(Provider):
    name = "museum_victoria"
    strings = {"image": "museumsvictoria"}
    start_date = date(2020, 1, 1)
    category = "digitized_artwork"
    rate = Rate(per_second=0.5)
    repeats = 1  # whether pages count from 0 or from 1 is not documented; 0 may be answered as 1
    unique = True
    params = {"hasimages": "yes", "perpage": 100}
    pages = Counted(f"{SITE}api/search", items="", first=0)

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        return [{"imagelicense": license_} for license_ in LICENSES]

    def record(self, raw: Raw) -> Mapped:
        item_id = raw.get("id")
        if skip := missing(identifier=item_id, media=raw.get("media")):
            return skip
        return [self._image(raw, medium) for medium in raw["media"]]

    @staticmethod
    def _image(raw: Raw, medium: Raw) -> Image | Skip:
        image_id, license_ = medium.get("id"), license_from_url(dig(medium, "licence", "uri"))
        size: Raw = next(
            (s for name in ("large", "medium", "small") if dig(s := medium.get(name), "uri")), None
        )
        if medium.get("type") != "image":
            return Skip("not an image")
        if license_ is None:
            return Skip("no Creative Commons license")
        if skip := missing(identifier=image_id, file_of_a_known_size=size):
            return skip
        creators = medium.get("creators")
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=f"{SITE}{raw['id']}",
            url=size["uri"],
            license=license_,
            width=size.get("width"),
            height=size.get("height"),
            filesize=size.get("size"),
            creator=",".join(creators) if isinstance(creators, list) else creators,
            title=raw.get("displayTitle"),
            meta_data=meta_data(raw),
        )


def meta_data(item: Raw) -> dict[str, Any]:
    meta = compact(item, "category")
    meta |= {
        to: item[key]
        for key, to in (("dateModified", "datemodified"), ("physicalDescription", "description"))
        if item.get(key)
    }
    meta |= {
        key: ",".join(item[key]) for key in ("keywords", "classifications") if isinstance(item.get(key), list)
    }
    return meta
