"""Flickr's search: licenses, errors, and a paginator for results that are limited to 4,000 photos.

Documentation: https://www.flickr.com/services/api/flickr.photos.search.html and, for the licenses,
https://www.flickr.com/services/api/flickr.photos.licenses.getInfo.html
"""

from collections.abc import Sequence
from hashlib import blake2b

from catalog.provider_api import (
    Check,
    Client,
    Counted,
    Cursor,
    Fatal,
    Json,
    JsonObject,
    KeyRefused,
    LoopDetected,
    Page,
    Params,
    Raw,
    UnexpectedResponse,
    as_count,
    count_at,
    describe,
    dig,
    items_at,
    license_from_pair,
    total_of,
)

ENDPOINT = "https://api.flickr.com/services/rest"
TOTAL = "photos.total"
PER_PAGE, MAX_UNIQUE = 500, 4000
DATES = ("min_upload_date", "max_upload_date")  # both inclusive, in Unix time
UNSHOWN = 1  # photos in a total without which a page may be empty; see `Flickr.total_surplus`
FULL = 0.9  # minimum share of photos on a page that is not the last; a few are not shown
LICENSES = {  # since 2025-06-18, new uploads have only those from 11 on
    "1": license_from_pair("by-nc-sa", "2.0"),
    "2": license_from_pair("by-nc", "2.0"),
    "3": license_from_pair("by-nc-nd", "2.0"),
    "4": license_from_pair("by", "2.0"),
    "5": license_from_pair("by-sa", "2.0"),
    "6": license_from_pair("by-nd", "2.0"),
    "9": license_from_pair("cc0", "1.0"),
    "10": license_from_pair("pdm", "1.0"),
    "11": license_from_pair("by", "4.0"),
    "12": license_from_pair("by-sa", "4.0"),
    "13": license_from_pair("by-nd", "4.0"),
    "14": license_from_pair("by-nc", "4.0"),
    "15": license_from_pair("by-nc-sa", "4.0"),
    "16": license_from_pair("by-nc-nd", "4.0"),
}
assert all(LICENSES.values())
INVALID_KEY = 100
# An invalid search, an unknown format or method, a forbidden URL. All other codes are temporary or new: 0,
# 105, 106 and 201 mean that the service is not available.
PERMANENT = frozenset((*range(1, 10), 111, 112, 116))


def check(body: Json) -> None:
    """Check a response of any method; errors have status 200, and codes may be strings.

    Raises:
        KeyRefused: The key is invalid.
        Fatal: The error is permanent.
        UnexpectedResponse: The error is temporary, its code is unknown, or the response is not Flickr's.
    """
    if dig(body, "stat") == "ok":
        return
    stat, code = (str(dig(body, key))[:20] for key in ("stat", "code"))
    said = f"Flickr answered stat {stat}, code {code}; {describe(body)}"
    if as_count(code) == INVALID_KEY:
        raise KeyRefused(said)
    raise (Fatal if as_count(code) in PERMANENT else UnexpectedResponse)(said)


def check_page(body: Json) -> None:
    """Check a page of photos.

    Raises:
        Fatal: See `check`.
        UnexpectedResponse: See `check`; also if the page lacks its list, its number or a count, or is empty
            although photos were announced.
    """
    check(body)
    photos = items_at(body, "photos.photo")
    total = total_of(body, TOTAL, len(photos))
    pages, number = (count_at(body, f"photos.{key}") for key in ("pages", "page"))
    if not photos and total > UNSHOWN and number < max(pages, 2):
        raise UnexpectedResponse(f"page {number} of {pages} is empty, but {total:,} photos were announced")


class Search(Counted):
    """Pages of the photos of one slice of time.

    Flickr counts pages from 1 and returns the first one for page 0, too. Past the end, and past 4,000
    photos, it repeats itself. So a page with the same identifiers as the previous one is ignored, and a slice
    that announces more is replaced by narrower ones.

    The cursor holds the number of the next page, the number of photos read so far (`seen`), and a fingerprint
    of the identifiers on the last page (`ids`).
    """

    def __init__(self) -> None:
        super().__init__(ENDPOINT, items="photos.photo", first=0, total=TOTAL, check=check)
        self.uniform = False  # a repeated page counts as empty; short ones are reported here

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        asked = cursor["page"]

        def ask() -> Json:
            return client.get_json(ENDPOINT, {**params, "page": asked}, check=_check_of(cursor))

        body = ask()
        short = _lacks_photos(body)
        if short:  # perhaps only this once
            body = ask()
            short = _lacks_photos(body)
        photos = items_at(body, "photos.photo")
        total, pages, number = (count_at(body, f"photos.{key}") for key in ("total", "pages", "page"))
        narrower = _narrower(params) if total > MAX_UNIQUE else []
        if narrower:
            return Page([], more_rounds=narrower)
        ids = _fingerprint(photos)
        if ids == cursor.get("ids"):
            photos, short = [], None
            if asked > 1 and number < pages:
                raise LoopDetected(
                    f"for page {asked} of {pages}, Flickr sent page {number} again; the pull stopped there."
                )
        brought = cursor.get("seen", 0) + len(photos)
        over = number * (as_count(dig(body, "photos", "perpage")) or PER_PAGE) >= MAX_UNIQUE
        ended = over or brought >= total or number > pages or (not photos and (asked > 1 or number >= pages))
        following = None if ended else {"page": asked + 1, "seen": brought, "ids": ids}
        withheld = _withheld(params, total) if ended and total > MAX_UNIQUE else short
        return Page(photos, following, min(total, MAX_UNIQUE), withheld=withheld)

    def rewind(self, cursor: Cursor, items: int, size: int) -> Cursor | None:
        earlier = super().rewind(cursor, items, size)
        # The photos that were read before are counted again, so the end is found by a page that is repeated.
        return earlier and {"page": earlier["page"], "seen": 0}


def _check_of(cursor: Cursor) -> Check:
    """Build the check of a page: `check_page`, and that it is the requested page or a repetition."""
    asked = cursor["page"]

    def checked(body: Json) -> None:
        check_page(body)
        pages, number = (count_at(body, f"photos.{key}") for key in ("pages", "page"))
        expected = number in (asked, asked + 1) or asked > pages
        if not expected and _fingerprint(items_at(body, "photos.photo")) != cursor.get("ids"):
            raise UnexpectedResponse(f"page {asked} of {pages} was requested, but page {number} came")

    return checked


def _lacks_photos(body: Json) -> str | None:
    """Describe a page that is not the last one, but lacks more photos than Flickr hides; else return None."""
    shown = len(items_at(body, "photos.photo"))
    pages, number = (count_at(body, f"photos.{key}") for key in ("pages", "page"))
    full = as_count(dig(body, "photos", "perpage")) or PER_PAGE
    if number >= pages or number * full > MAX_UNIQUE or shown >= FULL * full:
        return None
    return f"page {number} of {pages} holds {shown:,} photos instead of {full:,}"


def _narrower(params: Params) -> list[JsonObject]:
    """Return rounds that replace a slice: one per license, then halves; none for a single second."""
    if "," in str(params["license"]):
        dates = {key: params[key] for key in DATES if key in params}
        return [{**dates, "license": license_id} for license_id in LICENSES]
    start, end = (as_count(params.get(key)) for key in DATES)
    if start is None or end is None or end - start <= 1:
        return []
    middle = (start + end) // 2
    halves = ((start, middle), (middle, end))
    return [{**dict(zip(DATES, half, strict=True)), "license": params["license"]} for half in halves]


def _withheld(params: Params, total: int) -> str:
    start, end = (params.get(key) for key in DATES)
    return (
        f"Flickr announces {total:,} photos under license {params['license']} uploaded from {start} to {end} "
        f"(Unix time), but returns only {MAX_UNIQUE:,}"
    )


def _fingerprint(photos: Sequence[Raw]) -> str:
    """Return a hash of a page's identifiers, which unlike views do not change."""
    ids = "\n".join(sorted(str(dig(photo, "id")) for photo in photos))
    return blake2b(ids.encode("utf-8", "replace"), digest_size=8).hexdigest()
