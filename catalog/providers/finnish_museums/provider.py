"""Finna: images of four Finnish institutions under Creative Commons licenses, indexed on one UTC day.

A record that changes is indexed again, so changes are read with the day of the change, and with the last six
hours before it, because the index shows them late. Long result lists are unreliable, so a busy day is divided
into slices, and each slice is compared with its announced total. Images of an object have no identifiers of
their own: the first is stored under the object's identifier, the others with `#1`, `#2` … appended.
https://api.finna.fi/swagger-ui/
"""

from datetime import date, timedelta

from catalog.provider_api import (
    Client,
    Counted,
    Image,
    Json,
    Provider,
    Rate,
    Raw,
    RecordResult,
    RoundParams,
    Skip,
    Slicing,
    Uncovered,
    UnexpectedResponse,
    Window,
    describe,
    dig,
    license_from_url,
    missing,
    parts_shortfall,
    request_count,
    total_of,
)

SEARCH = "https://api.finna.fi/api/v1/search"
BUILDINGS = {
    "0/Suomen kansallismuseo/": "national_museum_of_finland",
    "0/Museovirasto/": "finnish_heritage_agency",
    "0/SATMUSEO/": "finnish_satakunnan_museum",
    "0/SA-kuva/": "finnish_military_museum",
}
LATE = 0.1  # share of a window's records that may become visible while it is read
FIELDS = ["authors", "buildings", "id", "imageRights", "images", "subjects", "title"]


def check(body: Json) -> None:
    """Check the status of a response and its number of records."""
    if str(dig(body, "status")).lower() != "ok":
        said = dig(body, "statusMessage")
        raise UnexpectedResponse(
            f"the status is {dig(body, 'status')!r}: {str(said)[:200]}; {describe(body)}"
        )
    records = dig(body, "records")
    total_of(body, "resultCount", len(records) if isinstance(records, list) else 0)


class FinnishMuseums(Provider):
    name = "finnish_museums"
    catalog_names = {"image": "finnishmuseums"}
    schedule = "@daily"
    dated = True
    overlap = timedelta(hours=6)  # until records are in the search index
    start_date = date(2015, 11, 1)
    rate = Rate(per_second=0.5)
    load_timeout = timedelta(hours=5)
    params = {"field[]": FIELDS, "limit": 100}
    # The platform (VuFind) omits `records` if there are none.
    pages = Counted(SEARCH, items="records", total="resultCount", omits_empty=True, check=check)
    slicing = Slicing(max_records=10_000, division_threshold=100_000, min_divisions=12, max_divisions=20)

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        assert window is not None
        found = []
        for building in BUILDINGS:

            def count(part: Window, building: str = building) -> int:
                return self._count(client, filters(building, part))

            found += [{"filter[]": filters(building, part)} for part in self.slicing.slices(window, count)]
        return found

    def uncovered(self, client: Client, window: Window | None, announced: int | None) -> Uncovered | None:
        """Name institutions without any record; compare the hours of a busy window with the whole.

        Only institutions that have no record in the window are counted without it.
        """
        counts = {building: self._count(client, filters(building, window)) for building in BUILDINGS}
        empty = [building for building, records in counts.items() if not records]
        gone = [building for building in empty if not self._count(client, filters(building), limit=1)]
        if gone:
            return Uncovered(
                f"Finna has no images of {', '.join(gone)}: was an institution renamed? See BUILDINGS"
            )
        if announced is None or max(counts.values()) < self.slicing.max_records:
            return None
        return parts_shortfall(announced, sum(counts.values()), "time", LATE)

    def _count(self, client: Client, wanted: list[str], **more: int) -> int:
        asked = {**self.params, "filter[]": wanted, "page": 1, **more}
        return request_count(client, SEARCH, asked, "resultCount", check=check)

    def record(self, raw: Raw) -> RecordResult:
        object_id, images = raw.get("id"), raw.get("images")
        link = dig(raw, "imageRights", "link")
        license_ = license_from_url(link)
        if skip := missing(identifier=object_id, license=license_, image=images):
            return skip
        building = dig(raw, "buildings", 0, "value")
        return [
            Image(
                foreign_identifier=f"{object_id}#{number}" if number else object_id,
                foreign_landing_url=f"https://www.finna.fi/Record/{object_id}",
                url=f"https://api.finna.fi{image}",
                license=license_,
                title=raw.get("title"),
                creator=creators(raw.get("authors")),
                source=BUILDINGS.get(building) if isinstance(building, str) else None,
                tags=[tag for tags in raw.get("subjects") or [] for tag in tags],
            )
            if image
            else Skip("no image")
            for number, image in enumerate(images)
        ]


def filters(building: str, window: Window | None = None) -> list[str]:
    """Return the filters of a search, at any time or in a window; ranges include both ends, to the second."""
    wanted = ['format:"0/Image/"', f'building:"{building}"']
    if window is None:
        return wanted
    start, end = window.start, window.end - timedelta(seconds=1)
    return [*wanted, f'last_indexed:"[{start:%Y-%m-%dT%H:%M:%SZ} TO {end:%Y-%m-%dT%H:%M:%SZ}]"']


def creators(authors: Json) -> str | None:
    """Join the names of all authors; a group without names is an empty list instead of an object."""
    groups = (dig(authors, group) for group in ("primary", "secondary", "corporate"))
    return "; ".join(name for group in groups if isinstance(group, dict) for name in group) or None
