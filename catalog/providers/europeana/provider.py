"""Europeana: images under Creative Commons licenses from museums, libraries and archives of Europe, changed on one UTC day.

The search finds the items whose record changed on that day, so that changes come by themselves and nothing is pulled again otherwise. Each
item is then asked for by itself: only there stand an image's size in pixels and bytes and its type. https://pro.europeana.eu/page/search
"""

from datetime import date, timedelta
from typing import Any

from catalog.ingestion import (  # fmt: skip
    ApiKey,
    Client,
    HttpStatus,
    Image,
    Mapped,
    Provider,
    Rate,
    Raw,
    Retry,
    Skip,
    Tokens,
    Window,
    compact,
    dig,
    license_from_url,
    missing,
)

API = "https://api.europeana.eu/record/v2"
SOURCES = {"Wellcome Collection": "wellcome_collection"}  # data provider → source


def check(body: Any) -> None:
    if dig(body, "success") is not True:
        raise Retry(f"the search reports no success: {str(dig(body, 'error'))[:200]}")


class Europeana(Provider):
    name = "europeana"
    strings = {"image": "europeana"}
    schedule = "@daily"
    dated = True
    start_date = date(2022, 10, 27)
    rate = Rate(per_second=2)
    pull_timeout = timedelta(days=3)
    key = ApiKey("API_KEY_EUROPEANA", "wskey", "https://pro.europeana.eu/pages/get-api")
    params = {
        "profile": "rich",
        "reusability": ["open", "restricted"],
        "sort": ["europeana_id+desc", "timestamp_created+desc"],
        "rows": 100,
        "media": "true",
        "start": 1,
        "qf": ["TYPE:IMAGE", "provider_aggregation_edm_isShownBy:*"],
    }
    pages = Tokens(
        f"{API}/search.json",
        items="items",
        param="cursor",
        following="nextCursor",
        total="totalResults",
        check=check,
    )

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        assert window is not None
        return [
            {
                "query": f"timestamp_update:[{window.start:%Y-%m-%dT%H:%M:%SZ} TO {window.end:%Y-%m-%dT%H:%M:%SZ}}}"
            }
        ]  # } : less than

    def detail(self, raw: Raw, client: Client) -> Raw:
        if not raw.get("id") or not image_url(raw):
            return raw
        try:
            item = client.get_json(f"{API}{raw['id']}.json")
        except HttpStatus as error:
            if error.status != 404:
                raise
            item = {}
        resources = (
            dig(item, "object", "aggregations", 0, "webResources") if dig(item, "success") is True else None
        )
        images = [r for r in resources or [] if str(r.get("ebucoreHasMimeType")).startswith("image")]
        return {**raw, "image": next((r for r in images if r.get("about") == image_url(raw)), {})}

    def record(self, raw: Raw) -> Mapped:
        landing, url, title = (
            dig(raw, "edmIsShownAt", 0) or str(raw.get("guid") or "").partition("?")[0],
            image_url(raw),
            dig(raw, "title", 0),
        )
        license_ = license_from_url(
            next((r for r in raw.get("rights") or [] if "creativecommons" in r), None)
        )
        if skip := missing(identifier=raw.get("id"), landing_url=landing):
            return skip
        if not url or not title or license_ is None:
            return Skip("no image" if not url else "no title" if not title else "no license")
        image = raw.get("image") or {}
        sized = image.get("ebucoreWidth") and image.get("ebucoreHeight")
        return Image(
            foreign_identifier=raw["id"],
            foreign_landing_url=landing,
            url=url,
            license=license_,
            title=title,
            width=image["ebucoreWidth"] if sized else None,
            height=image["ebucoreHeight"] if sized else None,
            filesize=image.get("ebucoreFileByteSize"),
            filetype=(image.get("ebucoreHasMimeType") or "").rpartition("/")[2] or None,
            source=next((SOURCES[name] for name in raw.get("dataProvider") or [] if name in SOURCES), None),
            meta_data={**compact(raw, "country", "dataProvider"), "description": description(raw)},
        )


def image_url(item: Raw) -> str | None:
    """The image's address; links into Dropbox are pages, not images."""
    url = dig(item, "edmIsShownBy", 0)
    return url if isinstance(url, str) and "dropbox.com" not in url else None


def description(item: Raw) -> str:
    paths = (("dcDescriptionLangAware", "en", 0), ("dcDescriptionLangAware", "def", 0), ("dcDescription", 0))
    return str(next((text for path in paths if (text := dig(item, *path))), "")).strip()
