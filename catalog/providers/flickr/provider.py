"""Flickr: photos under Creative Commons licenses or in the public domain, uploaded on one UTC day.

A search returns at most 4,000 different photos, whatever total it announces; after that it repeats itself. So
a busy day is divided into hours and slices of ten or five minutes. A slice that announces more is requested
once per license, and then halved until it announces less. If a single second has more than 4,000 photos of
one license, the rest is reported and the run fails. Totals include a few photos that no page shows, so a
round may return three photos less, or a hundredth of a large one.

All requests with one key, of this DAG, the reingestion and the audit, share Flickr's limit of 3,600 an hour.
A new key requires a Flickr Pro account. The source of photos by some institutions is the institution.
Terms: https://www.flickr.com/help/terms/api
"""

from datetime import date

from catalog.provider_api import (
    ApiKey,
    Client,
    Image,
    JsonObject,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Reingestion,
    RoundParams,
    Skip,
    Slicing,
    Window,
    compact,
    dig,
    missing,
    request_count,
    text_of,
)
from catalog.providers.flickr.search import DATES, ENDPOINT, LICENSES, PER_PAGE, TOTAL, Search, check

PHOTOS = "https://www.flickr.com/photos/"
SOURCES = {
    account: source
    for source, accounts in (
        ("nasa", "24662369@N07 35067687@N04 29988733@N04 28634332@N05 108488366@N07 136485307@N06"),
        ("bio_diversity", "61021753@N02"),
        ("spacex", "130608600@N05"),
        ("woc_tech", "136629440@N06"),
        ("valence_romans", "150408343@N02"),
        ("east_riding", "138361426@N08"),
        ("archief_alkmaar", "98304311@N03"),
        ("bib_gulbenkian", "26577438@N06"),
    )
    for account in accounts.split()
}


class Flickr(Provider):
    name = "flickr"
    catalog_names = {"image": "flickr"}
    schedule = "@daily"
    dated = True
    start_date = date(2020, 11, 1)
    rate = Rate(per_hour=3600)
    retries = 5
    # Totals include photos that no page shows: "always a bit higher than what is returned", users report.
    # They are few, but a slice may hold only ten. A page that lacks many is detected separately.
    total_surplus, total_tolerance = 3, 0.01
    popularity = "views"
    key = ApiKey(
        "API_KEY_FLICKR",
        "api_key",
        "https://www.flickr.com/services/apps/create/",
        hosts=("api.flickr.com", "www.flickr.com"),  # the audit uses the latter
    )
    params = {
        "method": "flickr.photos.search",
        "per_page": PER_PAGE,
        "license": ",".join(LICENSES),
        "media": "photos",
        "safe_search": 1,
        "extras": "description,license,date_upload,date_taken,owner_name,tags,o_dims,url_t,url_s,url_m,url_l,"
        "views,content_type",
        "format": "json",
        "nojsoncallback": 1,
    }
    pages = Search()
    slicing = Slicing(max_records=3000, division_threshold=10_000, min_divisions=6, max_divisions=12)
    reingestion = Reingestion(
        "flickr_reingestion_workflow", days=((1, 7), (7, 12), (15, 20), (30, 24), (90, 24), (180, 40))
    )

    def rounds(self, client: Client, window: Window | None) -> list[RoundParams]:
        assert window is not None

        def count(part: Window) -> int:
            params = {**self.params, **dates(part), "page": 0}
            return request_count(client, ENDPOINT, params, TOTAL, check=check)

        return [dates(part) for part in self.slicing.slices(window, count)]

    def record(self, raw: Raw) -> RecordResult:
        license_ = LICENSES.get(str(raw.get("license")))
        size = next((s for s in "lms" if raw.get(f"url_{s}")), None)
        photo_id, owner = raw.get("id"), (raw.get("owner") or "").strip()
        if license_ is None:
            return Skip("license not accepted")
        if size is None:
            return Skip("no file of a usable size")
        if skip := missing(identifier=photo_id, owner=owner):
            return skip
        return Image(
            foreign_identifier=photo_id,
            foreign_landing_url=f"{PHOTOS}{owner}/{photo_id}",
            url=raw[f"url_{size}"],
            license=license_,
            width=raw.get(f"width_{size}"),
            height=raw.get(f"height_{size}"),
            creator=raw.get("ownername"),
            creator_url=PHOTOS + owner,
            title=raw.get("title"),
            category="photograph" if str(raw.get("content_type")) == "0" else None,
            source=SOURCES.get(owner),
            tags=(raw.get("tags") or "").strip()[:2000].split(),
            meta_data=meta_data(raw),
        )


def meta_data(photo: Raw) -> JsonObject:
    meta = compact(photo, "views", pub_date="dateupload", date_taken="datetaken")
    if description := text_of(dig(photo, "description", "_content")):
        meta["description"] = description[:2000]
    return meta


def dates(window: Window) -> JsonObject:
    """Return both bounds as Unix time; adjacent windows share a second, so there is no gap."""
    return dict(zip(DATES, (int(window.start.timestamp()), int(window.end.timestamp())), strict=True))
