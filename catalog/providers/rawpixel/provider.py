"""Rawpixel: its public-domain collection, from an API for partners.

Requests are signed with the key, which itself is never sent. Without a partner's key, the API returns only
100,000 images, although it announces all; such a pull is not whole. The stored renditions have no watermark;
width and height are those of the original. The site's closing phrases are removed from titles and
descriptions. https://www.rawpixel.com/public-domain
"""

import re
from base64 import urlsafe_b64encode
from datetime import timedelta
from hashlib import sha256
from hmac import new as hmac
from urllib.parse import urlencode, urlsplit

from catalog.provider_api import (
    ApiKey,
    Category,
    Counted,
    Image,
    Params,
    Provider,
    Raw,
    RecordResult,
    Secret,
    Signed,
    Skip,
    compact,
    integer,
    license_from_url,
    missing,
)

PRESETS = {  # full size, thumbnail
    "plain": ("editor_1024", "image_600"),
    "png": ("image_png_1300", "image_png_600"),
    "dark": ("dark_image_png_1300", "dark_image_png_600"),
}
CATEGORIES: dict[str, Category] = {
    "public domain art": "digitized_artwork",
    "image": "photograph",
    "photo": "photograph",
    "clipart": "illustration",
}
CLOSING = re.compile(
    r"(?:free public domain cc0 (?:image|photo)|digitally enhanced by rawpixel)[.,!?]?$", re.IGNORECASE
)
REST = re.compile(
    r"(?:(?:free|original) ?)?(?:public)?(?: domain)?(?: cc0 (?:image|photo))?[.,!?]?$", re.IGNORECASE
)


class SigningKey(ApiKey, frozen=True):
    """A key that signs path and sorted query with HMAC-SHA256, in URL-safe base64 without padding."""

    def sign(self, url: str, params: Params, secret: Secret) -> Signed:
        query = urlencode(sorted((k, v) for k, v in params.items() if k != self.param), doseq=True)
        digest = hmac(secret.reveal().encode(), f"{urlsplit(url).path}?{query}".encode(), sha256).digest()
        return Signed({**params, self.param: urlsafe_b64encode(digest).decode().rstrip("=")})


class Rawpixel(Provider):
    name = "rawpixel"
    catalog_names = {"image": "rawpixel"}
    popularity = "download_count"
    pull_timeout = timedelta(hours=12)
    key = SigningKey("API_KEY_RAWPIXEL", "s", "https://www.rawpixel.com (partners only)")
    params = {"tags": "$publicdomain", "pagesize": 100}
    pages = Counted("https://www.rawpixel.com/api/v1/search", items="results", total="total")

    def record(self, raw: Raw) -> RecordResult:
        image_id, landing, metadata, file = (
            raw.get("id"),
            raw.get("url"),
            raw.get("metadata"),
            raw.get("style_uri"),
        )
        if skip := missing(identifier=image_id, landing_url=landing, metadata=metadata, image=file):
            return skip
        license_ = license_from_url(metadata.get("licenseUrl"))
        if license_ is None:
            return Skip("no license")
        full, small = PRESETS["plain" if not raw.get("isPng") else "dark" if raw.get("isDarkPng") else "png"]
        keywords = metadata.get("popular_keywords") or []
        width, height = (
            max(integer(raw.get(side)) or 0, integer(raw.get(f"display_image_{side}")) or 0)
            for side in ("width", "height")
        )
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=landing,
            url=file.replace("{}", full),
            license=license_,
            thumbnail=file.replace("{}", small),
            width=width or None,
            height=height or None,
            filetype=raw.get("name_ext"),
            title=title(metadata.get("title")),
            creator=re.sub(r"\(Source\)\s*$", "", raw.get("artist_names") or "").strip() or None,
            tags=keywords,
            category=next((kind for keyword, kind in CATEGORIES.items() if keyword in keywords), None),
            meta_data=compact(
                {**raw, "description": clean(metadata.get("description_text"))},
                "description",
                "download_count",
            ),
        )


def clean(text: str | None) -> str | None:
    """Remove the site's closing phrases from a title or description."""
    if not text:
        return None
    bare = REST.sub("", CLOSING.sub("", text.strip()).strip(), count=1)
    return bare.strip().removesuffix(",") or None


def title(text: str | None) -> str | None:
    """Remove the site's closing phrases and the part after `|` from a title.

    >>> title("Made-up kite over hills. Original | Free Photo - rawpixel")
    'Made-up kite over hills'
    >>> title("Free public domain CC0 photo. | rawpixel")
    """
    bare = clean((text or "").partition("|")[0])
    return bare.removesuffix(".") or None if bare else None
