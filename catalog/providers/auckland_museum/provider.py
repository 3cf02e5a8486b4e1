"""Auckland War Memorial Museum Tāmaki Paenga Hira: images of its objects under Creative Commons licenses.

The license is read from the copyright text of each record, which other records use to reserve all rights.
The API is a search that is asked by POST and shows at most 10,000 records of one search. So all records with
an image are divided by the time of their last change until each part is shown completely. The last part is
open, because records that change during the pull move into it. Records outside these times are searched as
well. With a date, only records that were changed since that day are pulled.

1,000 requests a day are allowed. When they are used up, the pull waits for the next day and resumes
automatically. Many of the images are also in Wikimedia Commons.
https://github.com/AucklandMuseum/API/wiki/Tutorial
"""

import re
from datetime import UTC, datetime, timedelta

from catalog.provider_api import (
    Client,
    Counted,
    Image,
    Json,
    JsonObject,
    License,
    Provider,
    Quota,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Skip,
    Uncovered,
    UnexpectedResponse,
    Window,
    dig,
    license_from_name,
    missing,
    narrowed,
    parts_shortfall,
    request_count,
    tags_of,
)

SEARCH = "https://api.aucklandmuseum.com/search/collectionsonline/_search"
PAGES = "https://www.aucklandmuseum.com/collections-research/collections/record/am_"
SIZE, MAX_SHOWN = 1000, 10_000  # records of a page, and that a search shows
FIRST = datetime(2000, 1, 1, tzinfo=UTC)  # earlier changes are outside the divided time, like missing ones
CHANGED = "lastModifiedOn"


def check(body: Json) -> None:
    """Raise UnexpectedResponse if a search did not reach all parts of the index."""
    if dig(body, "timed_out") is not False or dig(body, "_shards", "failed") != 0:
        raise UnexpectedResponse(
            f"the search is incomplete: timed_out is {dig(body, 'timed_out')}, "
            f"{dig(body, '_shards', 'failed')} shards failed"
        )


def query(start: datetime, end: datetime | None = None, *, outside: bool = False) -> JsonObject:
    """Return the query for records with an image that were changed since `start`, or for all others.

    Args:
        start: The earliest time.
        end: The time before which they were changed; None for no end.
        outside: All other records instead, such as those without a time.
    """
    times = {"gte": f"{start:%Y-%m-%dT%H:%M:%S}"} | ({"lt": f"{end:%Y-%m-%dT%H:%M:%S}"} if end else {})
    image, changed = {"exists": {"field": "primaryRepresentation"}}, {"range": {CHANGED: times}}
    if outside:
        return {"bool": {"must": [image], "must_not": changed}}
    return {"bool": {"must": [image, changed]}}


class AucklandMuseum(Provider):
    name = "auckland_museum"
    catalog_names = {"image": "aucklandmuseum_tamakipaengahira"}
    since = True
    rate = Rate(per_second=1)
    quota = Quota(1_000, "day")
    pull_timeout = timedelta(days=7)
    deduplicate = True  # records that change during the pull move to other pages
    params = {"size": SIZE, "sort": [{CHANGED: {"order": "asc"}}]}
    pages = Counted(
        SEARCH,
        items="hits.hits",
        param="from",
        first=0,
        step=SIZE,
        most=MAX_SHOWN,
        total="hits.total",
        body=("query", "sort"),
        check=check,
    )

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        # The last part has no end, and is searched last: records that change during the pull move into it.
        start, now = window.start if window else FIRST, datetime.now(UTC).replace(microsecond=0)

        def of(part: Window) -> JsonObject:
            return query(part.start, part.end if part.end < now else None)

        parts = narrowed(Window(start, now), lambda part: count(client, of(part)), MAX_SHOWN - SIZE)
        queries = [of(part) for part in parts]
        if window is None:
            queries.append(query(start, outside=True))
        return [{"query": asked} for asked in queries]

    def uncovered(self, client: Client, window: Window | None, announced: int | None) -> Uncovered | None:
        """Compare the parts with everything; records that change during the pull may be in two of them."""
        whole = count(client, query(FIRST)) + count(client, query(FIRST, outside=True))
        return None if announced is None else parts_shortfall(announced, whole, "time")

    def record(self, raw: Raw) -> RecordResult:
        source, path = raw["_source"], path_of(raw.get("_id"))
        image = source.get("primaryRepresentation")
        if skip := missing(identifier=path, image=image):
            return skip
        license_ = license_of(source.get("copyright"))
        if license_ is None:
            return Skip("no Creative Commons license")
        return Image(
            foreign_identifier=path,
            foreign_landing_url=PAGES + path.replace("/", "-"),
            url=image,
            license=license_,
            title=dig(source, "appellation", "Primary Title", 0),
            creator="; ".join(tags_of(source.get("dc_contributor"), separator=";")) or None,
            meta_data={
                key: value
                for key, value in {
                    "type": dig(source, "type", 0),
                    "department": dig(source, "department", 0),
                    "geopos": dig(source, "geopos", 0),
                }.items()
                if value
            },
        )


def count(client: Client, asked: JsonObject) -> int:
    return request_count(client, SEARCH, {"size": 0}, "hits.total", check=check, json={"query": asked})


def path_of(address: Raw) -> str:
    """Return what follows `id/` in the address of a record; numbers alone occur in several departments.

    >>> path_of("http://api.aucklandmuseum.com/id/naturalsciences/object/17"), path_of("17")
    ('naturalsciences/object/17', '')
    """
    return address.partition("/id/")[2].strip("/") if isinstance(address, str) else ""


def license_of(copyright_: Raw) -> License | None:
    """Return the license that a copyright text names, such as `© Auckland Museum CC BY`.

    The museum's terms say 4.0 where the text says no version. Texts that disagree name no license.
    """
    names = [re.search(r"\bCC\b.*", str(text), re.IGNORECASE) for text in tags_of(copyright_, separator="\n")]
    found = {license_from_name(name.group(), "4.0") if name else None for name in names}
    return found.pop() if len(found) == 1 else None
