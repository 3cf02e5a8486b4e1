"""Museums Victoria: images of its collections under Creative Commons licenses or in the public domain.

The search is read once for each license. It finds records with at least one image under that license, so the
license of each image decides, and a record that is found again under another license is skipped.
https://collections.museumsvictoria.com.au/developers
"""

import logging
from datetime import date

from catalog.provider_api import (
    Client,
    Counted,
    Cursor,
    Image,
    JsonObject,
    Page,
    Params,
    Provider,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Skip,
    Uncovered,
    UnexpectedResponse,
    Window,
    as_count,
    compact,
    dig,
    license_from_url,
    missing,
    once_more,
    parts_shortfall,
    tags_of,
)

log = logging.getLogger(__name__)

# The API's names, rarest first, because results of a rare license show best if the filter has no effect.
LICENSES = ("cc by-nd", "cc by-nc-nd", "cc by-nc-sa", "cc by-sa", "cc by-nc", "public domain", "cc by")
RESERVED = "all rights reserved"  # of all other images
NOT_IMAGES = 0.05  # share of records that no license finds, above which a sample of all records is read
SAMPLED = 10  # pages of that sample
TOTAL = "Total-Results"  # a header
SITE = "https://collections.museumsvictoria.com.au/"
SEARCH = f"{SITE}api/search"
FILTER = "imagelicence"
ENOUGH = 10  # records; fewer do not prove that the filter failed, as they may have changed after indexing


class Licensed(Counted):
    """Pages of records with images under the requested license.

    The API ignores unknown parameters: if the filter were renamed, it would return everything, once for each
    license.
    """

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        page = super().fetch(client, cursor, params)
        asked, found = params.get(FILTER), len(page.items)
        others = sum(str(asked).lower() not in licenses_of(item) for item in page.items) if asked else 0
        if others >= ENOUGH and others > found / 2:
            raise UnexpectedResponse(
                f"{others} of the {found} records found by {FILTER}={asked} hold no image under that license"
            )
        return page


def licenses_of(item: Raw) -> set[str]:
    """Return the short names of the licenses of a record's images, in lower case."""
    media = dig(item, "media")
    names = [dig(medium, "licence", "shortName") for medium in media] if isinstance(media, list) else []
    return {str(name).lower() for name in names}


class MuseumVictoria(Provider):
    name = "museum_victoria"
    catalog_names = {"image": "museumsvictoria"}
    start_date = date(2020, 1, 1)
    category = "digitized_artwork"
    rate = Rate(per_second=0.5)
    deduplicate = True
    params = {"hasimages": "yes", "perpage": 100}
    pages = Licensed(SEARCH, items="", total_header=TOTAL)

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        return [{FILTER: license_} for license_ in LICENSES]

    def uncovered(self, client: Client, window: Window | None, announced: int | None) -> Uncovered | None:
        """Compare the licenses with all records, and name the licenses under which records were missed.

        A record may have several licenses, or none: its media may be of other kinds, or lack the field. So a
        difference alone proves nothing. Records of a sample with a free license that the search does not
        find, do.
        """
        if announced is None:
            return None
        whole, reserved = count(client), count(client, RESERVED)
        if whole is None or not reserved:  # many images are reserved; none means that the value is renamed
            return None
        found = parts_shortfall(announced + reserved, whole, "license", NOT_IMAGES)
        if found is None:
            return None
        if not (missed := missed_licenses(client, whole)):
            log.info("%s, but a sample of them shows no free license that was missed.", found.text)
            return None
        text = f"{found.text}; images under {', '.join(missed[:5])} are in none of them"
        return Uncovered(text, found.items)

    def record(self, raw: Raw) -> RecordResult:
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
            thumbnail=dig(medium, "thumbnail", "uri"),
            license=license_,
            width=size.get("width"),
            height=size.get("height"),
            filesize=size.get("size"),
            creator=",".join(creators) if isinstance(creators, list) else creators,
            title=raw.get("displayTitle"),
            tags=tags_of(*(raw.get(key) for key in ("keywords", "classifications", "collectionNames"))),
            meta_data=meta_data(raw),
        )


def missed_licenses(client: Client, records: int) -> list[str]:
    """Return the free licenses of images in a sample of all records that the search does not find.

    Args:
        client: Sends the requests.
        records: Number of records with images; the pages of the sample are spread evenly over them.
    """
    size = int(MuseumVictoria.params["perpage"])
    names: set[str] = set()
    for page in sorted({1 + records * n // (SAMPLED * size) for n in range(SAMPLED)}):
        found = client.get_json(SEARCH, {"hasimages": "yes", "perpage": size, "page": page})
        names.update(
            str(dig(medium, "licence", "shortName")).lower()
            for record in (found if isinstance(found, list) else [])
            for medium in dig(record, "media") or []
            if dig(medium, "type") == "image" and license_from_url(dig(medium, "licence", "uri"))
        )
    return sorted(name for name in names if name not in LICENSES or count(client, name) == 0)


def count(client: Client, license_: str | None = None) -> int | None:
    """Return the number of records with images, under a license or any; None if the API does not say it."""
    wanted = {FILTER: license_} if license_ else {}

    def ask() -> int | None:
        found = client.get_decoded(SEARCH, {"hasimages": "yes", "perpage": 1, "page": 1, **wanted})
        return as_count(found.headers.get(TOTAL))

    found = ask()
    return (once_more(ask) or 0) if found == 0 else found


def meta_data(item: Raw) -> JsonObject:
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
