"""Justtakeitfree: photographs by one photographer under CC BY.

https://justtakeitfree.com
"""

from datetime import date

from catalog.provider_api import (
    ApiKey,
    Counted,
    FileSizes,
    Image,
    Provider,
    Raw,
    RecordResult,
    Skip,
    license_from_url,
    missing,
)


class Justtakeitfree(Provider):
    name = "justtakeitfree"
    catalog_names = {"image": "justtakeitfree"}
    start_date = date(2023, 9, 1)
    key = ApiKey("API_KEY_JUSTTAKEITFREE", "key", "https://justtakeitfree.com (by writing to its owner)")
    pages = Counted("https://justtakeitfree.com/api/api.php", items="data")
    details = FileSizes()

    def record(self, raw: Raw) -> RecordResult:
        photos = raw if isinstance(raw, list) else [raw]  # each item is a list of one
        return [self._photo(photo) for photo in photos]

    @staticmethod
    def _photo(photo: Raw) -> Image | Skip:
        landing, url = photo.get("page_link"), photo.get("full_image_link")
        if skip := missing(landing_url=landing, image=url):
            return skip
        photo_id = landing.rstrip("/").rpartition("/")[2]
        license_ = license_from_url(photo.get("license_link"))
        if skip := missing(identifier=photo_id, license=license_):
            return skip
        return Image(
            foreign_identifier=photo_id,
            foreign_landing_url=landing,
            url=url,
            license=license_,
            thumbnail=photo.get("preview_link"),
            creator="Justtakeitfree Free Photos",
            creator_url="https://justtakeitfree.com",
            tags=photo.get("tags"),
        )
