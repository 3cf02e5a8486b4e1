"""PhyloPic: silhouettes of organisms, free to use.

All responses belong to a build of the site's data. If there is a new build during a pull, the pull starts
over with it and skips what it has read. URLs are stored without the build, so that they remain the same. The
tags are the names of the depicted taxa. https://api-docs.phylopic.org
"""

from datetime import date, timedelta

from catalog.provider_api import (
    Image,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Reingestion,
    dig,
    license_from_url,
    missing,
    without_param,
)
from catalog.providers.phylopic.builds import Builds

SITE = "https://www.phylopic.org"


class PhyloPic(Provider):
    name = "phylopic"
    catalog_names = {"image": "phylopic"}
    schedule = "@weekly"
    start_date = date(2011, 2, 7)
    category = "illustration"
    rate = Rate(per_second=1)
    deduplicate = True
    pull_timeout = timedelta(hours=12)
    headers = {"Accept": "application/vnd.phylopic.v2+json"}  # `application/json` is refused with a 406
    params = {"embed_items": "true"}
    pages = Builds()
    # Without days, a run pulls everything once.
    reingestion = Reingestion("phylopic_reingestion_workflow", days=(), pull_timeout=timedelta(hours=12))

    def record(self, raw: Raw) -> RecordResult:
        links, image_id = raw.get("_links") or {}, raw.get("uuid")
        landing, file = dig(links, "self", "href"), dig(links, "sourceFile", "href")
        license_ = license_from_url(dig(links, "license", "href"))
        if skip := missing(identifier=image_id, landing_url=landing, source_file=file, license=license_):
            return skip
        uploader = dig(links, "contributor", "title")
        creator = raw.get("attribution") or uploader
        uploader_page = on_site(dig(links, "contributor", "href"))
        width, height = size_of(links.get("sourceFile"))
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=on_site(landing),
            url=file,
            license=license_,
            thumbnail=dig(min(listed(links, "rasterFiles"), key=size_of, default=None), "href"),
            title=dig(links, "self", "title"),
            creator=creator,
            creator_url=uploader_page if creator == uploader else None,
            width=width or None,
            height=height or None,
            tags=[title for node in listed(links, "nodes") if (title := node.get("title"))],
            meta_data={"contributor": uploader} if uploader and uploader != creator else None,
        )


def listed(links: Raw, name: str) -> list[Raw]:
    found = links.get(name)
    return [link for link in found if isinstance(link, dict)] if isinstance(found, list) else []


def on_site(path: str | None) -> str | None:
    """Return the page of the site that corresponds to a link of the API.

    >>> on_site("/images/1?build=900")
    'https://www.phylopic.org/images/1'
    """
    return without_param(SITE + path, "build") if path else None


def size_of(link: Raw) -> tuple[float, float]:
    """Return width and height in pixels; zeros if the link lacks them.

    >>> size_of({"sizes": "413.5x272"}), size_of({"sizes": "any"})
    ((413.5, 272.0), (0.0, 0.0))
    """
    width, _, height = str(dig(link, "sizes")).partition("x")
    try:
        return float(width), float(height)
    except ValueError:
        return 0.0, 0.0
