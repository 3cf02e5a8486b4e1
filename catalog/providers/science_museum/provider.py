"""Science Museum Group: images of objects in its collections under Creative Commons licenses.

The API gives out the first pages of a search only, so the collection is walked by ranges of years, which
are counted first and cut until each is given out whole. Objects without a date, and those whose dates span
several ranges, are looked for by category. What even that does not reach is told at the end of the run. An
object may lie in several ranges: what was read before is passed over.
https://github.com/TheScienceMuseum/collectionsonline/wiki/Collections-Online-API
"""

from datetime import UTC, date, datetime
from typing import Any

from catalog.provider_api import (
    Client,
    Image,
    License,
    Mapped,
    Provider,
    Rate,
    Raw,
    Skip,
    Window,
    dig,
    license_from_pair,
    missing,
)
from catalog.providers.science_museum.census import PAGE_SIZE, Census
from catalog.providers.science_museum.searches import Searches

FILES = "https://coimages.sciencemuseumgroup.org.uk/"


class ScienceMuseum(Provider):
    name = "science_museum"
    strings = {"image": "sciencemuseum"}
    start_date = date(2020, 1, 1)
    category = "photograph"
    rate = Rate(per_second=0.5)
    unique = True
    params = {"has_image": 1, "image_license": "CC", "page[size]": PAGE_SIZE}
    pages = Searches()

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        return Census(client, self.params).rounds(datetime.now(UTC).year + 1)

    def record(self, raw: Raw) -> Mapped:
        landing, media = dig(raw, "links", "self"), dig(raw, "attributes", "multimedia")
        if skip := missing(identifier=raw.get("id"), landing_url=landing, image=media):
            return skip
        return [self._image(raw["attributes"], landing, medium) for medium in media]

    @staticmethod
    def _image(attributes: Raw, landing: str, medium: Raw) -> Image | Skip:
        image_id = first(medium, ("@admin", "uid"), ("admin", "uid"))
        files = first(medium, ("@processed",), ("processed",)) or {}
        large, medium_sized = dig(files, "large"), dig(files, "medium")
        file = next((file for file in (large, medium_sized) if isinstance(file, dict)), {})
        license_ = license_of(
            first(medium, ("legal", "rights", 0, "licence"), ("source", "legal", "rights", 0, "usage_terms"))
        )
        if skip := missing(identifier=image_id, file_of_a_known_size=file.get("location")):
            return skip
        if license_ is None:
            return Skip("no Creative Commons license")
        pixels = {
            d.get("dimension"): d.get("value")
            for d in dig(file, "measurements", "dimensions") or []
            if d.get("units") == "pixels"
        }
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=landing,
            url=address(file),
            thumbnail=address(medium_sized if file is large else dig(files, "medium_thumbnail")),
            license=license_,
            filetype=file.get("format"),
            filesize=dig(file, "measurements", "filesize", "value"),
            width=pixels.get("width"),
            height=pixels.get("height"),
            title=first(attributes, ("title", 0, "value"), ("summary_title",)),
            creator=first(
                attributes,
                ("creation", "maker", 0, "summary", "title"),
                ("lifecycle", "creation", 0, "maker", 0, "summary_title"),
            ),
            tags=tags(attributes),
            meta_data=meta_data(attributes),
        )


def first(raw: Raw, *paths: tuple[str | int, ...]) -> Any:
    """What is at the first path that leads anywhere: the shape of today, then the one before 2024."""
    return next((value for path in paths if (value := dig(raw, *path)) is not None), None)


def address(file: Any) -> str | None:
    """Where a rendition lies; most are named by their path only."""
    place = dig(file, "location")
    if not isinstance(place, str) or not place:
        return None
    return place if place.startswith("http") else FILES + place


def license_of(text: object) -> License | None:
    """Return the license of a text such as CC-BY-NC-SA 4.0; None if it is no license.

    >>> license_of("CC-BY-NC-SA 4.0").url, license_of("Picture library only")
    ('https://creativecommons.org/licenses/by-nc-sa/4.0/', None)
    """
    words = text.lower().removeprefix("cc ").removeprefix("cc-").split(" ") if isinstance(text, str) else []
    return license_from_pair(*words) if len(words) == 2 else None


def tags(attributes: Raw) -> list[Any]:
    """What an object is called, and the categories that it is in."""
    return texts(dig(attributes, "name"), "value") + texts(dig(attributes, "category"), "name")


def texts(entries: Any, key: str) -> list[Any]:
    return [text for entry in entries if (text := dig(entry, key))] if isinstance(entries, list) else []


def meta_data(attributes: Raw) -> dict[str, Any]:
    meta = {
        "accession number": dig(attributes, "identifier", 0, "value"),
        "name": dig(attributes, "name", 0, "value"),
        "category": first(attributes, ("category", 0, "value"), ("categories", 0, "value")),
        "description": dig(attributes, "description", 0, "value"),
        "creditline": first(attributes, ("legal", "credit"), ("legal", "credit_line")),
    }
    return {key: value for key, value in meta.items() if value is not None}
