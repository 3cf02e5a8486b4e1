"""Science Museum Group: images of objects in its collections under Creative Commons licenses.

The API gives out the first pages of a search only, so the collection is walked by ranges of years; a range that holds more is halved. An
object may lie in several ranges: what was read before is passed over. Since 2024 its answers have another shape; both are read.
https://github.com/TheScienceMuseum/collectionsonline/wiki/Collections-Online-API
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

from catalog.ingestion import (  # fmt: skip
    Client,
    Counted,
    Cursor,
    Image,
    License,
    Mapped,
    Page,
    Params,
    Provider,
    Rate,
    Raw,
    Skip,
    Window,
    dig,
    license_from_pair,
    missing,
)

SEARCH = "https://collection.sciencemuseumgroup.org.uk/search/"
FILES = "https://coimages.sciencemuseumgroup.org.uk/"
LAST_PAGE = 50  # asking for a later one is an error there


class Years(Counted):
    """Pages of a range of years, counted from 0, up to the last one that the API gives out; what a range holds beyond is had by halves."""

    def __init__(self) -> None:
        super().__init__(
            SEARCH, items="data", param="page[number]", first=0, more="links.next", total="meta.count"
        )

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        page = super().fetch(client, cursor, params)
        if cursor[self.param] < LAST_PAGE or page.next is None:
            return page
        page.next = None
        start, end = int(params.get("date[from]", 0)), int(params.get("date[to]", 0))
        if end - start > 1:
            middle = (start + end) // 2
            page.more_rounds = [{"date[from]": a, "date[to]": b} for a, b in ((start, middle), (middle, end))]
        else:
            page.left_out = (
                f"the years {start} to {end} hold more than the {LAST_PAGE + 1} pages that the API gives out; "
                f"the rest is missing."
            )
        return page


def year_ranges(final: int) -> Iterator[tuple[int, int]]:
    """Ranges that hold about 5 000 objects at most, up to the year `final`."""
    bounds = [0, 200, 1500, *range(1750, 1825, 25), *range(1825, 1925, 10), *range(1925, final, 5), final]
    return pairwise(bounds)


class ScienceMuseum(Provider):
    name = "science_museum"
    strings = {"image": "sciencemuseum"}
    start_date = date(2020, 1, 1)
    category = "photograph"
    rate = Rate(per_second=0.5)
    unique = True
    params = {"has_image": 1, "image_license": "CC", "page[size]": 100}
    pages = Years()

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        return [
            {"date[from]": start, "date[to]": end} for start, end in year_ranges(datetime.now(UTC).year + 1)
        ]

    def record(self, raw: Raw) -> Mapped:
        landing, media = dig(raw, "links", "self"), dig(raw, "attributes", "multimedia")
        if skip := missing(identifier=raw.get("id"), landing_url=landing, image=media):
            return skip
        return [self._image(raw["attributes"], landing, medium) for medium in media]

    @staticmethod
    def _image(attributes: Raw, landing: str, medium: Raw) -> Image | Skip:
        image_id = first(medium, ("@admin", "uid"), ("admin", "uid"))
        files = first(medium, ("@processed",), ("processed",)) or {}
        file = next((f for size in ("large", "medium") if isinstance(f := files.get(size), dict)), {})
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
            url=file["location"] if file["location"].startswith("http") else FILES + file["location"],
            license=license_,
            filetype=file.get("format"),
            filesize=dig(file, "measurements", "filesize", "value") or None,
            width=pixels.get("width"),
            height=pixels.get("height"),
            title=first(attributes, ("title", 0, "value"), ("summary_title",)),
            creator=first(
                attributes,
                ("creation", "maker", 0, "summary", "title"),
                ("lifecycle", "creation", 0, "maker", 0, "summary_title"),
            ),
            meta_data=meta_data(attributes),
        )


def first(raw: Raw, *paths: tuple[str | int, ...]) -> Any:
    """What stands at the first path that leads anywhere: the shape of today, then the one before 2024."""
    return next((value for path in paths if (value := dig(raw, *path)) is not None), None)


def license_of(text: object) -> License | None:
    """
    >>> license_of("CC-BY-NC-SA 4.0").url, license_of("Picture library only")
    ('https://creativecommons.org/licenses/by-nc-sa/4.0/', None)
    """
    words = text.lower().removeprefix("cc ").removeprefix("cc-").split(" ") if isinstance(text, str) else []
    return license_from_pair(*words) if len(words) == 2 else None


def meta_data(attributes: Raw) -> dict[str, Any]:
    meta = {
        "accession number": dig(attributes, "identifier", 0, "value"),
        "name": dig(attributes, "name", 0, "value"),
        "category": first(attributes, ("category", 0, "value"), ("categories", 0, "value")),
        "description": dig(attributes, "description", 0, "value"),
        "creditline": first(attributes, ("legal", "credit"), ("legal", "credit_line")),
    }
    return {key: value for key, value in meta.items() if value is not None}
