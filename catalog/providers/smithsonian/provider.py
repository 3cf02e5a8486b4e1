"""Smithsonian Institution, Open Access: images in the public domain (CC0); the source of each is its museum.

The collection is read by the first two digits of the items' hashes, which keeps each list short; at the end,
their sum is compared with the number of all items. Then the unit codes of museums are compared with the
known ones: items with a new code are skipped, and the run reports what to add to `units.py`. When the task is
cleared, it reads the collection again.
https://www.si.edu/openaccess/devtools
"""

from datetime import date, timedelta

from catalog.provider_api import (
    CC0,
    ApiKey,
    Client,
    Image,
    JsonObject,
    Provider,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Skip,
    Uncovered,
    Window,
    as_list,
    dig,
    missing,
    parts_shortfall,
)
from catalog.providers.smithsonian.rows import as_dict, creator, landing_page, meta_data, pixels, tags
from catalog.providers.smithsonian.search import ROWS, WANTED, Rows, count_of_all, new_unit_codes
from catalog.providers.smithsonian.units import SOURCES

PREFIXES = [f"{number:02x}" for number in range(256)]  # of hashes


class Smithsonian(Provider):
    name = "smithsonian"
    catalog_names = {"image": "smithsonian"}
    schedule = "@weekly"
    start_date = date(2020, 1, 1)
    rate = Rate(per_hour=1000)
    load_timeout = timedelta(hours=6)
    key = ApiKey("API_KEY_DATA_GOV", "api_key", "https://api.data.gov/signup/")
    params = {"rows": ROWS}
    pages = Rows()

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        return [{"q": f"{WANTED} AND hash:{prefix}*"} for prefix in PREFIXES]

    def uncovered(self, client: Client, window: Window | None, announced: int | None) -> Uncovered | None:
        # Their items are on all pages, so the next attempt has to start over.
        if new := new_unit_codes(client):
            codes = ", ".join(f"`{code}`" for code in new)
            return Uncovered(
                f"items of new unit codes are skipped; add {codes} to SOURCES in smithsonian/units.py"
            )
        return None if announced is None else parts_shortfall(announced, count_of_all(client), "hash")

    def record(self, raw: Raw) -> RecordResult:
        described = as_dict(dig(raw, "content", "descriptiveNonRepeating"))
        media = as_list(dig(described, "online_media", "media"))
        unit = str(described.get("unit_code") or "").strip()
        landing = landing_page(described, unit)
        if skip := missing(landing_url=landing, image=media, unit_code=unit):
            return skip
        if unit not in SOURCES:
            return Skip(f"unknown unit code {unit[:40]}")
        common = {
            "foreign_landing_url": landing,
            "license": CC0,
            "title": raw.get("title"),
            "creator": creator(dig(raw, "content")),
            "source": SOURCES[unit],
            "tags": tags(as_dict(dig(raw, "content", "indexedStructured"))),
            "meta_data": meta_data(raw, described, unit),
        }
        return [self._image(as_dict(medium), common) for medium in media]

    @staticmethod
    def _image(medium: Raw, common: JsonObject) -> Image | Skip:
        if medium.get("type") != "Images" or dig(medium, "usage", "access") != "CC0":
            return Skip("not a CC0 image")
        if skip := missing(identifier=medium.get("idsId"), file=medium.get("content")):
            return skip
        width, height = pixels(medium)
        return Image(
            foreign_identifier=medium["idsId"],
            url=medium["content"],
            thumbnail=medium.get("thumbnail"),
            width=width,
            height=height,
            **common,
        )
