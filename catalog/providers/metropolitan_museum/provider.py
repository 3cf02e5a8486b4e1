"""Metropolitan Museum of Art: images of works in the public domain (CC0).

One request lists the objects that changed on a day or later, whatever their number; each object is then a
request of its own. Of a day far in the past, whose list holds almost the whole collection, only what has not
changed again since is read. Every image of an object is a record, named after the object and the image's
file.

The documentation allows 80 requests a second, but since August 2025 a firewall answers 403 to everybody who
sends about thirty in quick succession. So one a second is sent, and such an answer waits for at least a
minute; 86 400 objects a day are the most that can be read. https://metmuseum.github.io/ and
https://github.com/metmuseum/openaccess/issues/60
"""

from datetime import date, timedelta
from typing import Any

from catalog.provider_api import (
    CC0,
    Client,
    HttpStatus,
    Image,
    Mapped,
    Provider,
    Rate,
    Raw,
    Reingestion,
    Skip,
    Window,
)
from catalog.providers.metropolitan_museum.objects import OBJECTS, Objects, is_object

NAMES = (
    "department",
    "medium",
    "culture",
    "objectName",
    "artistDisplayName",
    "classification",
    "objectDate",
    "creditLine",
    "period",
)


class MetropolitanMuseum(Provider):
    name = "metropolitan_museum"
    strings = {"image": "met"}
    schedule = "@daily"
    dated = True
    start_date = date(2016, 9, 1)
    category = "digitized_artwork"
    rate = Rate(per_second=1)
    concurrency = 2
    blocking_statuses = {403: 60}
    retries = 5
    gone_reasons = ("no such object",)
    pull_timeout = timedelta(hours=12)
    reingestion = Reingestion(
        "metropolitan_museum_reingestion_workflow",
        ((1, 6), (30, 9), (90, 18), (180, 30)),
        max_active_tasks=2,
        pull_timeout=timedelta(hours=16),
        dagrun_timeout=timedelta(days=7),
    )

    def __init__(self) -> None:
        self.pages = Objects()

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        assert window is not None
        return [{"metadataDate": f"{window.day}"}]

    def detail(self, raw: Raw, client: Client) -> Raw:
        number = raw["objectID"]
        if type(number) is not int:
            raise ValueError(f"the identifier {str(number)[:40]!r} is no number")
        try:
            return client.get_json(f"{OBJECTS}/{number}", check=is_object(number))
        except HttpStatus as error:
            if error.status in (404, 410):  # listed, but on loan or withdrawn
                return {**raw, "gone": True}
            raise

    def record(self, raw: Raw) -> Mapped:
        if raw.get("gone"):
            return Skip("no such object")
        if raw.get("isPublicDomain") is not True:
            return Skip("not in the public domain")
        primary = raw.get("primaryImage")
        urls = [url for url in (primary, *(raw.get("additionalImages") or [])) if url]
        landing = raw.get("objectURL")
        if not landing or not urls:
            return Skip("no landing URL" if urls else "no image")
        creator, small, number = (
            raw.get(key) or None for key in ("artistDisplayName", "primaryImageSmall", "accessionNumber")
        )
        about_creator = raw.get("artistWikidata_URL") or raw.get("artistULAN_URL") or None
        tags = [raw[name] for name in NAMES if raw.get(name)]
        tags += [tag["term"] for tag in raw.get("tags") or [] if tag.get("term")]
        return [
            Image(
                foreign_identifier=f"{raw['objectID']}-{url.rpartition('/')[2].partition('.')[0]}",
                foreign_landing_url=landing.replace("://wwwstg.", "://www.", 1),  # a staging host that leaks
                url=url,
                license=CC0,
                thumbnail=small if url == primary else None,
                title=raw.get("title") or raw.get("objectName"),
                creator=creator,
                creator_url=about_creator if creator else None,
                tags=tags,
                meta_data={"accession_number": number} if number else None,
            )
            for url in urls
        ]
