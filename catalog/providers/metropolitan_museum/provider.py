"""Metropolitan Museum of Art: images of works in the public domain (CC0).

One request lists the objects that changed on a day or later, whatever their number; each object is then
requested separately. For a day far in the past, whose list holds almost the whole collection, only objects
that have not changed since are read. Every image of an object is a record; its identifier consists of the
object's number and the name of the image file.

The documentation allows 80 requests a second, but since August 2025 a firewall responds with 403 to about
thirty requests in quick succession. So one request a second is sent, and after such a response at least a
minute passes; at most 86 400 objects can be read a day. https://metmuseum.github.io/ and
https://github.com/metmuseum/openaccess/issues/60
"""

from datetime import date, timedelta

from catalog.provider_api import (
    CC0,
    Client,
    HttpStatus,
    Image,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Reingestion,
    RoundParams,
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
    catalog_names = {"image": "met"}
    schedule = "@daily"
    dated = True
    start_date = date(2016, 9, 1)
    category = "digitized_artwork"
    rate = Rate(per_second=1)
    concurrency = 2
    blocking_statuses = {403: 60}
    retries = 5
    deletion_reasons = ("no such object",)
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

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        assert window is not None
        return [{"metadataDate": f"{window.day}"}]

    def detail(self, raw: Raw, client: Client) -> Raw:
        number = raw["objectID"]
        if type(number) is not int:
            raise ValueError(f"the identifier {str(number)[:40]!r} is not a number")
        try:
            return client.get_json(f"{OBJECTS}/{number}", check=is_object(number))
        except HttpStatus as error:
            if not error.is_gone:
                raise
            return {**raw, "gone": True}  # listed, but on loan or withdrawn

    def record(self, raw: Raw) -> RecordResult:
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
                foreign_landing_url=landing.replace("://wwwstg.", "://www.", 1),  # a staging host in the data
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
