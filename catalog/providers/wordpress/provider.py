"""WordPress Photo Directory: photographs in the public domain (CC0), from the WordPress REST API.

Pages past the last one are an error, so a HEAD request for the first page reads the number of pages and
photos. The oldest photos come first, so that new photos do not shift others to another page. The title of a
photo is its caption (the API's title is the slug). Landing pages keep the slash at their end.
https://wordpress.org/photos/
"""

from datetime import timedelta

from catalog.provider_api import (
    CC0,
    Counted,
    FileSizes,
    Image,
    Provider,
    Raw,
    RecordResult,
    Skip,
    dig,
    missing,
)

SIZES = ("2048x2048", "1536x1536", "medium_large", "large", "full")
EXIF = ("aperture", "camera", "created_timestamp", "focal_length", "iso", "shutter_speed")


class WordPress(Provider):
    name = "wordpress"
    catalog_names = {"image": "wordpress"}
    pull_timeout = timedelta(hours=12)
    strip_slashes = False
    params = {"per_page": 100, "_embed": "true", "orderby": "id", "order": "asc"}
    pages = Counted(
        "https://wordpress.org/photos/wp-json/wp/v2/photos",
        items="",
        pages_header="x-wp-totalpages",
        total_header="x-wp-total",
        past_end_status=400,  # photos were deleted meanwhile; the total of photos is checked
    )
    details = FileSizes()

    def record(self, raw: Raw) -> RecordResult:
        slug, link = raw.get("slug"), raw.get("link")
        details = dig(raw, "_embedded", "wp:featuredmedia", 0, "media_details")
        if skip := missing(identifier=slug, landing_url=link, media=details):
            return skip
        name = next((s for s in SIZES if dig(details, "sizes", s, "source_url")), None)
        if name is None:
            return Skip("no file of a known size")
        size = details["sizes"][name]
        author = dig(raw, "_embedded", "author", 0) or {}
        creator = author.get("name") or author.get("slug")
        terms = self._terms(raw)
        return Image(
            foreign_identifier=slug,
            foreign_landing_url=link,
            url=size["source_url"],
            license=CC0,
            title=dig(raw, "content", "rendered"),
            creator=creator,
            creator_url=(author.get("url") or author.get("link")) if creator else None,
            width=size.get("width"),
            height=size.get("height"),
            filesize=(details if name == "full" else size).get("filesize") or None,
            tags=terms.get("photo_tag"),
            meta_data=self._meta_data(details, terms),
        )

    @staticmethod
    def _terms(raw: Raw) -> dict[str, list[str]]:
        terms: dict[str, list[str]] = {}
        for group in dig(raw, "_embedded", "wp:term") or []:
            for term in group or []:
                terms.setdefault(term.get("taxonomy"), []).append(term.get("name"))
        return terms

    @staticmethod
    def _meta_data(details: Raw, terms: dict[str, list[str]]) -> dict[str, object]:
        exif = details.get("image_meta") or {}
        meta: dict[str, object] = {key: exif[key] for key in EXIF if exif.get(key) not in (None, "")}
        if categories := terms.get("photo_category"):
            meta["categories"] = categories
        if colors := terms.get("photo_color"):
            meta["colors"] = colors
        if orientation := terms.get("photo_orientation"):
            meta["orientation"] = orientation[-1]
        return meta
