"""PhyloPic: silhouettes of organisms, free to use.

All answers belong to a build of the site's data; when it is built anew during a pull, the pull begins again with the new build, and what it
had read already is passed over. https://api-docs.phylopic.org
"""

from datetime import date, timedelta
from typing import Any

from catalog.ingestion import (  # fmt: skip
    Client,
    Cursor,
    HttpStatus,
    Image,
    Mapped,
    Page,
    Paginator,
    Params,
    Provider,
    Rate,
    Raw,
    Reingestion,
    Retry,
    Skip,
    dig,
    license_from_url,
    missing,
)
from catalog.ingestion.cleaning import integer
from catalog.ingestion.pagination import items_at

IMAGES = "https://api.phylopic.org/images"
SITE = "https://www.phylopic.org"


class Builds(Paginator):
    """Pages of one build, counted from 0; the first answer tells the build and how many pages it has."""

    own_params = ("build", "page")

    def start(self, params: Params) -> Cursor:
        return {"page": int(params.get("page", 0))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        at = cursor if "build" in cursor else {**cursor, **self._build(client)}
        try:
            return self._page(client, at, params)
        except HttpStatus as error:
            if error.status != 410 or (newer := self._build(client))["build"] == at["build"]:
                raise
        return self._page(client, {"page": 0, **newer}, params)

    @staticmethod
    def _build(client: Client) -> dict[str, Any]:
        body = client.get_json(IMAGES)
        return {
            "build": integer(dig(body, "build")),
            "pages": integer(dig(body, "totalPages")) or 0,
            "total": dig(body, "totalItems"),
        }

    @staticmethod
    def _page(client: Client, at: Cursor, params: Params) -> Page:
        if at["page"] >= at["pages"]:
            return Page([], total=at["total"])
        body = client.get_json(IMAGES, {**params, "build": at["build"], "page": at["page"]})
        items, following = items_at(body, "_embedded.items"), at["page"] + 1
        if following >= at["pages"]:
            return Page(items, total=at["total"])
        if not items:  # a count that is wrong would have us ask for page after page
            raise Retry(
                f"page {at['page']} of build {at['build']} is empty, but it should have {at['pages']:,} pages"
            )
        return Page(items, {**at, "page": following}, at["total"])


class PhyloPic(Provider):
    name = "phylopic"
    strings = {"image": "phylopic"}
    schedule = "@weekly"
    start_date = date(2011, 2, 7)
    category = "illustration"
    rate = Rate(per_second=1)
    unique = True
    pull_timeout = timedelta(hours=12)
    params = {"embed_items": "true"}
    pages = Builds()
    reingestion = Reingestion(
        "phylopic_reingestion_workflow", days=(), pull_timeout=timedelta(hours=12)
    )  # the whole, once

    def record(self, raw: Raw) -> Mapped:
        links = raw.get("_links") or {}
        image_id, landing, file = (
            raw.get("uuid"),
            dig(links, "self", "href"),
            dig(links, "sourceFile", "href"),
        )
        license_, contributor = (
            license_from_url(dig(links, "license", "href")),
            dig(links, "contributor", "href"),
        )
        if skip := missing(identifier=image_id, landing_url=landing, source_file=file):
            return skip
        if license_ is None:
            return Skip("no license")
        width, _, height = str(dig(links, "sourceFile", "sizes") or "").partition("x")
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=SITE + landing,
            url=file,
            license=license_,
            title=dig(links, "self", "title"),
            creator=dig(links, "contributor", "title"),
            creator_url=SITE + contributor if contributor else None,
            width=integer(width) if height else None,
            height=integer(height) if height else None,
        )
