"""Statens Museum for Kunst, the national gallery of Denmark: works in the public domain.

Stored files are renditions of at most 2,048 pixels, because originals are very large; width, height and size
in bytes are those of the original. Alternative images are ignored, because they were duplicates or of lower
quality. https://www.smk.dk/en/article/smk-api/
"""

from datetime import date
from urllib.parse import quote

from catalog.provider_api import (
    Counted,
    Image,
    JsonObject,
    Provider,
    Rate,
    Raw,
    RecordResult,
    dig,
    license_from_url,
    missing,
)

ROWS = 2000


class Smk(Provider):
    name = "smk"
    catalog_names = {"image": "smk"}
    start_date = date(2020, 1, 1)
    rate = Rate(per_second=0.5)
    params = {"keys": "*", "filters": "[has_image:true],[public_domain:true]", "rows": ROWS, "lang": "en"}
    pages = Counted(
        "https://api.smk.dk/api/v1/art/search/",
        items="items",
        param="offset",
        first=0,
        step=ROWS,
        total="found",
    )

    def record(self, raw: Raw) -> RecordResult:
        license_, number = license_from_url(raw.get("rights")), raw.get("object_number")
        iiif, legacy = raw.get("image_iiif_id"), raw.get("id")
        url = f"{iiif}/full/!2048,/0/default.jpg" if iiif else raw.get("image_native")
        if skip := missing(license=license_, landing_url=number, identifier=iiif or legacy, image=url):
            return skip
        return Image(
            foreign_identifier=iiif or legacy,
            foreign_landing_url=f"https://open.smk.dk/en/artwork/image/{quote(str(number), safe='')}",
            url=url,
            license=license_,
            thumbnail=raw.get("image_thumbnail"),
            width=raw.get("image_width"),
            height=raw.get("image_height"),
            filesize=raw.get("image_size") or raw.get("size"),
            title=dig(raw, "titles", 0, "title"),
            creator=dig(raw, "production", 0, "creator"),
            meta_data=meta_data(raw),
        )


def meta_data(item: Raw) -> JsonObject:
    meta = {"created_date": item["created"]} if item.get("created") else {}
    for key in ("collection", "techniques", "colors"):
        if isinstance(item.get(key), list):
            meta[key] = ",".join(map(str, item[key]))
    return meta
