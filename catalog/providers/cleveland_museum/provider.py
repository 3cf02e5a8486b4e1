"""Cleveland Museum of Art: works in the public domain (CC0) from its open-access API.

An artwork is one record: its web image, else its print image, else its full image.
https://openaccess-api.clevelandart.org
"""

from datetime import date, timedelta

from catalog.provider_api import (
    CC0,
    Counted,
    Image,
    JsonObject,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Skip,
    compact,
    dig,
    missing,
)

PAGE = 1000
VARIANTS = ("web", "print", "full")


class ClevelandMuseum(Provider):
    name = "cleveland_museum"
    catalog_names = {"image": "clevelandmuseum"}
    start_date = date(2020, 1, 15)
    category = "digitized_artwork"
    rate = Rate(per_second=0.5)  # a response has 20 MB
    pull_timeout = timedelta(hours=12)
    params = {"cc0": 1, "has_image": 1, "limit": PAGE}
    pages = Counted(
        "https://openaccess-api.clevelandart.org/api/artworks/",
        items="data",
        param="skip",
        first=0,
        step=PAGE,
        total="info.total",
    )

    def record(self, raw: Raw) -> RecordResult:
        artwork, landing = raw.get("id"), raw.get("url")
        image: Raw = next((v for name in VARIANTS if dig(v := dig(raw, "images", name), "url")), None)
        if str(raw.get("share_license_status")).lower() != "cc0":
            return Skip("not CC0")
        if skip := missing(identifier=artwork, landing_url=landing, image=image):
            return skip
        return Image(
            foreign_identifier=artwork,
            foreign_landing_url=landing,
            url=image["url"],
            license=CC0,
            width=image.get("width"),
            height=image.get("height"),
            filesize=image.get("filesize"),
            title=raw.get("title"),
            creator=dig(raw, "creators", 0, "description"),
            meta_data=meta_data(raw),
        )


def meta_data(artwork: Raw) -> JsonObject:
    renamed = {"date": "creation_date", "credit_line": "creditline", "classification": "type"}
    meta = compact(artwork, "accession_number", "technique", "tombstone", **renamed)
    culture = artwork.get("culture")
    if joined := ",".join(c for c in culture if c) if isinstance(culture, list) else "":
        meta["culture"] = joined
    return meta
