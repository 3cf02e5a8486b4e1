"""Nappy: photographs of Black and Brown people, in the public domain (CC0).

The API was made for catalogs like this one. https://nappy.co
"""

from datetime import date

from catalog.provider_api import (
    CC0,
    Counted,
    Image,
    Provider,
    Raw,
    RecordResult,
    compact,
    missing,
    size_in_bytes,
    tags_of,
)


class Nappy(Provider):
    name = "nappy"
    catalog_names = {"image": "nappy"}
    start_date = date(2022, 12, 1)
    category = "photograph"
    popularity = "downloads"
    params = {"per_page": 100}
    pages = Counted(
        "https://api.nappy.co/v1/openverse/images", items="images", more="next_page", total="total_results"
    )

    def record(self, raw: Raw) -> RecordResult:
        photo_id, landing, url = raw.get("foreign_identifier"), raw.get("foreign_landing_url"), raw.get("url")
        if skip := missing(identifier=photo_id, landing_url=landing, image=url):
            return skip
        return Image(
            foreign_identifier=photo_id,
            foreign_landing_url=landing,
            url=url,
            license=CC0,
            thumbnail=f"{url}?auto=format&w=600&q=75",
            filetype=raw.get("filetype"),
            filesize=size_in_bytes(raw.get("filesize")),
            width=raw.get("width"),
            height=raw.get("height"),
            creator=raw.get("creator"),
            creator_url=raw.get("creator_url"),
            title=raw.get("title"),
            tags=tags_of(raw.get("tags")),
            meta_data=compact(raw, "views", "saves", "downloads"),
        )
