"""StockSnap: photographs in the public domain (CC0).

The site has no documented API; its own JSON pages list all photos, newest first, forty per page. Width and
height are those of the original, while the stored file is the rendition with a width of 960 pixels, whose
size in bytes is requested separately. See https://stocksnap.io/faq
"""

import re
from urllib.parse import unquote

from catalog.provider_api import CC0, Counted, FileSizes, Image, Provider, Raw, RecordResult, compact, missing

NO_WEBSITE = (None, "", "https://stocksnap.io/", "https://stocksnap.io/author/undefined/")


class StockSnap(Provider):
    name = "stocksnap"
    catalog_names = {"image": "stocksnap"}
    category = "photograph"
    popularity = "downloads_raw"
    pages = Counted("https://stocksnap.io/api/load-photos/date/desc/{page}", items="results", more="nextPage")
    details = FileSizes()

    def record(self, raw: Raw) -> RecordResult:
        photo_id, keywords = raw.get("img_id"), raw.get("keywords")
        if skip := missing(identifier=photo_id, title=keywords):
            return skip
        website, creator = raw.get("author_website"), unescaped(raw.get("author_name"))
        page = "-".join([*keywords[:2], photo_id]).encode(errors="ignore").decode()  # no lone surrogates
        return Image(
            foreign_identifier=photo_id,
            foreign_landing_url=f"https://stocksnap.io/photo/{page}",
            url=f"https://cdn.stocksnap.io/img-thumbs/960w/{photo_id}.jpg",
            license=CC0,
            title=" ".join(keywords[:2]).title(),
            creator=creator,
            creator_url=(raw.get("author_profile") if website in NO_WEBSITE else website)
            if creator
            else None,
            width=raw.get("img_width"),
            height=raw.get("img_height"),
            filetype="jpg",
            tags=keywords,
            meta_data=compact(raw, "downloads_raw", "page_views_raw", "favorites_raw"),
        )


def unescaped(name: object) -> object:
    """Undo JavaScript's `escape()` or `encodeURIComponent()`, which were applied to some names.

    >>> unescaped("Zo%u0113%20Sky"), unescaped("Ren%E9"), unescaped("Ren%C3%A9"), unescaped("100% Sky")
    ('Zoē Sky', 'René', 'René', '100% Sky')
    """
    if not isinstance(name, str):
        return name
    if re.search("%u[0-9a-f]{4}", name, re.IGNORECASE):
        units = re.sub("(?i)%(?:u([0-9a-f]{4})|([0-9a-f]{2}))", lambda m: chr(int(m[1] or m[2], 16)), name)
        return units.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return unquote(name, "latin-1")
