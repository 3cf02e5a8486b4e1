"""Flickr: photos under Creative Commons licenses or in the public domain, uploaded on one UTC day.

An answer never holds more than 4 000 different photos, whatever it announces; after that it repeats itself. So a busy day is cut into hours
and slices of ten or five minutes, and a slice that still announces more is asked once per license. All requests with one key, of this DAG
and of the reingestion, share Flickr's 3 600 an hour. Photos of some institutions get these as their source.
Terms: https://www.flickr.com/help/terms/api
"""

from datetime import date
from typing import Any

from catalog.ingestion import (  # fmt: skip
    ApiKey,
    Client,
    Counted,
    Cursor,
    Fatal,
    Image,
    Mapped,
    Page,
    Params,
    Provider,
    Rate,
    Raw,
    Reingestion,
    Retry,
    Skip,
    Slicing,
    Window,
    compact,
    dig,
    license_from_pair,
    missing,
    text_of,
)

ENDPOINT = "https://api.flickr.com/services/rest"
PHOTOS = "https://www.flickr.com/photos/"
PER_PAGE, MAX_UNIQUE = 500, 4000
LICENSES = {
    license_id: license_from_pair(slug, version)
    for license_id, slug, version in (
        ("1", "by-nc-sa", "2.0"), ("2", "by-nc", "2.0"), ("3", "by-nc-nd", "2.0"), ("4", "by", "2.0"), ("5", "by-sa", "2.0"),
        ("6", "by-nd", "2.0"), ("9", "cc0", "1.0"), ("10", "pdm", "1.0"),
    )
}  # fmt: skip
SOURCES = {
    "24662369@N07": "nasa", "35067687@N04": "nasa", "29988733@N04": "nasa", "28634332@N05": "nasa", "108488366@N07": "nasa",
    "136485307@N06": "nasa", "61021753@N02": "bio_diversity", "130608600@N05": "spacex", "136629440@N06": "woc_tech",
    "150408343@N02": "valence_romans", "138361426@N08": "east_riding", "98304311@N03": "archief_alkmaar",
    "26577438@N06": "bib_gulbenkian",
}  # fmt: skip


def check(body: Any) -> None:
    """Flickr reports errors in a body with status 200. https://www.flickr.com/services/api/flickr.photos.search.html"""
    if dig(body, "stat") != "ok":
        code, message = dig(body, "code"), dig(body, "message")
        error = Retry if code in (None, 0, 10, 105, 106) else Fatal
        raise error(f"Flickr answered stat {dig(body, 'stat')!r}, code {code}: {message}")


class Search(Counted):
    """Page 0 and page 1 are the same page at Flickr; the answer tells which one it is. `seen` counts the photos of different pages."""

    def __init__(self) -> None:
        super().__init__(ENDPOINT, items="photos.photo", first=0, total="photos.total", check=check)

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        body = client.get_json(ENDPOINT, {**params, "page": cursor["page"]}, check=check)
        photos, photos_of = dig(body, "photos", "photo") or [], dig(body, "photos") or {}
        total, number = int(photos_of.get("total") or 0), int(photos_of.get("page") or cursor["page"])
        one_license = "," not in str(params["license"])
        if total > MAX_UNIQUE and not one_license:
            slice_ = {key: params[key] for key in ("min_upload_date", "max_upload_date") if key in params}
            return Page(
                [], total=total, more_rounds=[{**slice_, "license": license_id} for license_id in LICENSES]
            )
        if number * PER_PAGE > MAX_UNIQUE and one_license:
            return Page([], total=total)
        seen = cursor.get("seen", 0) + (len(photos) if number != cursor.get("number") else 0)
        ended = not photos or seen >= total or number > int(photos_of.get("pages") or 0)
        return Page(
            photos, None if ended else {"page": cursor["page"] + 1, "number": number, "seen": seen}, total
        )


class Flickr(Provider):
    name = "flickr"
    strings = {"image": "flickr"}
    schedule = "@daily"
    dated = True
    start_date = date(2020, 11, 1)
    rate = Rate(per_hour=3600)
    retries = 5
    repeats = 2
    popularity = "views"
    key = ApiKey("API_KEY_FLICKR", "api_key", "https://www.flickr.com/services/apps/create/")
    params = {
        "method": "flickr.photos.search",
        "per_page": PER_PAGE,
        "license": ",".join(LICENSES),
        "media": "photos",
        "safe_search": 1,
        "extras": "description,license,date_upload,date_taken,owner_name,tags,o_dims,url_t,url_s,url_m,url_l,views,content_type",
        "format": "json",
        "nojsoncallback": 1,
    }
    pages = Search()
    slicing = Slicing(max_records=3000, division_threshold=10_000, min_divisions=6, max_divisions=12)
    reingestion = Reingestion(
        "flickr_reingestion_workflow", days=((1, 7), (7, 12), (15, 20), (30, 24), (90, 24), (180, 40))
    )

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        assert window is not None

        def count(part: Window) -> int:
            body = client.get_json(ENDPOINT, {**self.params, **dates(part), "page": 0}, check=check)
            return int(dig(body, "photos", "total") or 0)

        return [dates(part) for part in self.slicing.slices(window, count)]

    def record(self, raw: Raw) -> Mapped:
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


def meta_data(photo: Raw) -> dict[str, Any]:
    meta = compact(photo, "views", pub_date="dateupload", date_taken="datetaken")
    if description := text_of(dig(photo, "description", "_content")):
        meta["description"] = description[:2000]
    return meta


def dates(window: Window) -> dict[str, Any]:
    """Both bounds as Unix time. What was uploaded in the very second of the end may come twice; nothing is left out between windows."""
    return {"min_upload_date": int(window.start.timestamp()), "max_upload_date": int(window.end.timestamp())}


assert all(LICENSES.values())
