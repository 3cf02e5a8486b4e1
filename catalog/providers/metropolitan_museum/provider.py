"""Metropolitan Museum of Art: images of works in the public domain (CC0).

One request lists the objects that changed on a day or later, whatever their number; each object is then asked for by itself. (A day far in
the past therefore lists almost the whole collection.) Every image of an object is a record, named after the object and the image's file.
At most 80 requests a second are allowed. https://metmuseum.github.io/
"""

from datetime import date, timedelta
from typing import Any

from catalog.ingestion import (
    CC0,
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
    Skip,
    Window,
    dig,
)  # fmt: skip

OBJECTS = "https://collectionapi.metmuseum.org/public/collection/v1/objects"
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
A_PAGE = 100


class Objects(Paginator):
    """The list of identifiers, cut into pages. It is asked for once, and again by a pull that resumes after the last identifier read."""

    own_params = ("after",)

    def __init__(self) -> None:
        self._listed: list[int] | None = None

    def start(self, params: Params) -> Cursor:
        return {"after": int(params.get("after", 0))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        if self._listed is None:
            ids = dig(client.get_json(OBJECTS, params), "objectIDs") or []
            self._listed = sorted(i for i in ids if isinstance(i, int))
        ahead = [i for i in self._listed if i > cursor["after"]]
        page = ahead[:A_PAGE]
        after = {"after": page[-1]} if len(ahead) > A_PAGE else None
        return Page([{"objectID": i} for i in page], after, len(self._listed))

    def skip(self, cursor: Cursor) -> Cursor | None:
        ahead = [i for i in self._listed or [] if i > cursor["after"]]
        return {"after": ahead[A_PAGE - 1]} if len(ahead) > A_PAGE else None


class MetropolitanMuseum(Provider):
    name = "metropolitan_museum"
    strings = {"image": "met"}
    schedule = "@daily"
    dated = True
    start_date = date(2016, 9, 1)
    category = "digitized_artwork"
    rate = Rate(per_second=40, burst=4)
    concurrency = 8
    retries = 5
    pull_timeout = timedelta(hours=12)
    reingestion = Reingestion(
        "metropolitan_museum_reingestion_workflow", ((1, 6), (30, 9), (90, 18), (180, 30)), max_active_tasks=2,
        pull_timeout=timedelta(hours=16), dagrun_timeout=timedelta(days=7),
    )  # fmt: skip

    def __init__(self) -> None:
        self.pages = Objects()

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        assert window is not None
        return [{"metadataDate": f"{window.day}"}]

    def detail(self, raw: Raw, client: Client) -> Raw:
        try:
            return client.get_json(f"{OBJECTS}/{raw['objectID']}")
        except HttpStatus as error:
            if error.status == 404:  # listed, but on loan or withdrawn
                return {**raw, "gone": True}
            raise

    def record(self, raw: Raw) -> Mapped:
        if raw.get("gone"):
            return Skip("no such object")
        if raw.get("isPublicDomain") is not True:
            return Skip("not in the public domain")
        urls = [url for url in (raw.get("primaryImage"), *(raw.get("additionalImages") or [])) if url]
        if not raw.get("objectURL") or not urls:
            return Skip("no landing URL" if urls else "no image")
        tags = [raw[name] for name in NAMES if raw.get(name)] + [
            tag.get("term") for tag in raw.get("tags") or []
        ]
        return [
            Image(
                foreign_identifier=f"{raw['objectID']}-{url.rpartition('/')[2].partition('.')[0]}",
                foreign_landing_url=raw["objectURL"],
                url=url,
                license=CC0,
                title=raw.get("title") or raw.get("objectName"),
                creator=raw.get("artistDisplayName"),
                tags=[tag for tag in tags if tag],
                meta_data={"accession_number": raw["accessionNumber"]}
                if raw.get("accessionNumber")
                else None,
            )
            for url in urls
        ]
