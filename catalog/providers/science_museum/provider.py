"""Science Museum Group: images of objects in its collections under Creative Commons licenses.

The API returns only the first pages of a search, so the collection is read by ranges of years, which are
counted and divided until each is returned completely. Objects without a date, or with dates that span several
ranges, are searched by category. Objects that are still not found are reported at the end of the run. An
object that is in several ranges is stored once.
https://github.com/TheScienceMuseum/collectionsonline/wiki/Collections-Online-API
"""

from datetime import UTC, date, datetime

from catalog.provider_api import (
    Client,
    Image,
    Json,
    JsonObject,
    Provider,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Skip,
    Window,
    dig,
    license_from_name,
    missing,
)
from catalog.providers.science_museum.census import PAGE_SIZE, Census
from catalog.providers.science_museum.searches import Searches

FILES = "https://coimages.sciencemuseumgroup.org.uk/"


class ScienceMuseum(Provider):
    name = "science_museum"
    catalog_names = {"image": "sciencemuseum"}
    start_date = date(2020, 1, 1)
    category = "photograph"
    rate = Rate(per_second=0.5)
    deduplicate = True
    params = {"has_image": 1, "image_license": "CC", "page[size]": PAGE_SIZE}
    pages = Searches()

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        return Census(client, self.params).rounds(datetime.now(UTC).year + 1)

    def record(self, raw: Raw) -> RecordResult:
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
        license_ = license_from_name(
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


def first(raw: Raw, *paths: tuple[str | int, ...]) -> Json:
    """Return the value at the first path that exists: the current format, then the one before 2024."""
    return next((value for path in paths if (value := dig(raw, *path)) is not None), None)


def address(file: Json) -> str | None:
    """Return the URL of a rendition, most of which are given as a path."""
    place = dig(file, "location")
    if not isinstance(place, str) or not place:
        return None
    return place if place.startswith("http") else FILES + place


def tags(attributes: Raw) -> list[Json]:
    """Return the names and categories of an object."""
    return texts(dig(attributes, "name"), "value") + texts(dig(attributes, "category"), "name")


def texts(entries: Json, key: str) -> list[Json]:
    return [text for entry in entries if (text := dig(entry, key))] if isinstance(entries, list) else []


def meta_data(attributes: Raw) -> JsonObject:
    meta = {
        "accession number": dig(attributes, "identifier", 0, "value"),
        "name": dig(attributes, "name", 0, "value"),
        "category": first(attributes, ("category", 0, "value"), ("categories", 0, "value")),
        "description": dig(attributes, "description", 0, "value"),
        "creditline": first(attributes, ("legal", "credit"), ("legal", "credit_line")),
    }
    return {key: value for key, value in meta.items() if value is not None}
