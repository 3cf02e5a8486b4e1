"""New York Public Library, Digital Collections: items that the library places in the public domain (CC0).

A search lists the items. Each is then requested separately, and each of its captures (page, side, plate) is a
record with its largest rendition. https://api.repo.nypl.org/
"""

import re
from datetime import date
from urllib.parse import parse_qs, urlsplit

from catalog.provider_api import (
    ApiKey,
    Client,
    Counted,
    Image,
    Json,
    Provider,
    Rate,
    Raw,
    RecordResult,
    Skip,
    UnexpectedResponse,
    as_count,
    describe,
    dig,
    license_from_url,
    missing,
    values_at,
    without_param,
)
from catalog.providers.nypl.mods import creator, listed, meta_data, text, topics

API = "https://api.repo.nypl.org/api/v2/items"
SIZES = "gvqwr"  # full size, then 2560, 1600, 760 and 300 pixels on the long side
THUMBNAIL = "r"
MAX_PAGES = 200  # of captures of one item


def succeeded(body: Json) -> None:
    """Raise UnexpectedResponse if a response has a status other than "success"; the status is optional."""
    headers = dig(body, "nyplAPI", "response", "headers")
    status, message = text(headers, "status"), text(headers, "message")
    if status is not None and str(status).strip().lower() != "success":
        raise UnexpectedResponse(
            f"the status is {str(status)[:40]!r}: {str(message)[:200]}; {describe(body)}"
        )


def described(body: Json) -> None:
    """Check that the response about an item holds its description, and captures or their number."""
    succeeded(body)
    values_at(body, "nyplAPI.response.mods")
    if not captures_of(body) and announced(body) is None:
        raise UnexpectedResponse("there are neither captures nor `numResults`, the number of them")


def captures_of(body: Json) -> list[Raw]:
    """Return the captures in the response about an item."""
    return listed(dig(body, "nyplAPI", "response", "sibling_captures", "capture"))


def announced(body: Json) -> int | None:
    """Return the announced number of captures of an item, if there is one."""
    return as_count(text(dig(body, "nyplAPI", "response"), "numResults"))


class Nypl(Provider):
    name = "nypl"
    catalog_names = {"image": "nypl"}
    start_date = date(2020, 1, 1)
    rate = Rate(per_second=1)
    key = ApiKey(
        "API_KEY_NYPL",
        "Authorization",
        "https://api.repo.nypl.org/sign_up",
        header=True,
        scheme="Token token=",
    )
    params = {"q": "CC_0", "field": "use_rtxt_s", "per_page": 500}
    pages = Counted(
        f"{API}/search/",
        items="nyplAPI.response.result",
        total="nyplAPI.response.numResults",
        omits_empty=True,
        check=succeeded,
    )

    def detail(self, raw: Raw, client: Client) -> Raw:
        """Add the description of an item and all its captures, which are paginated, too."""
        if not (uuid := raw.get("uuid")):
            return raw
        url, page, captures = f"{API}/item_details/{uuid}", 1, list[Raw]()
        while True:
            asked = {"page": page, "per_page": self.params["per_page"]}
            body = client.get_json(url, asked, check=described)
            new = [capture for capture in captures_of(body) if capture not in captures]
            captures += new
            if len(captures) >= (total := announced(body) or 0):
                return {**raw, "mods": dig(body, "nyplAPI", "response", "mods"), "captures": captures}
            if not new or page >= MAX_PAGES:
                raise UnexpectedResponse(f"{len(captures)} of {total} captures came")
            page += 1

    def record(self, raw: Raw) -> RecordResult:
        if not raw.get("uuid"):
            return Skip("no identifier")
        if not raw["captures"]:
            return Skip("no captures")
        return [self._image(capture, raw["mods"]) for capture in raw["captures"]]

    @staticmethod
    def _image(capture: Raw, mods: Raw) -> Image | Skip:
        image_id, landing = text(capture, "imageID"), text(capture, "itemLink")
        links = by_size(listed(dig(capture, "imageLinks", "imageLink")))
        link: Raw = next((links[size] for size in SIZES if size in links), None)
        license_ = license_from_url(text(capture, "rightsStatementURI"))
        if skip := missing(
            identifier=image_id, landing_url=landing, file_of_a_known_size=link, license=license_
        ):
            return skip
        meta, kind = meta_data(mods), re.search(r" .(jpeg|gif) ", str(link.get("description")))
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=landing,
            url=without_param(link["$"], "download"),
            thumbnail=without_param(links[THUMBNAIL]["$"], "download") if THUMBNAIL in links else None,
            license=license_,
            filetype=kind.group(1) if kind else None,
            title=text(mods, "titleInfo", "title"),
            creator=creator(mods),
            category="photograph" if meta.get("genre") == "Photographs" else None,
            tags=topics(mods),
            meta_data=meta,
        )


def by_size(links: list[Raw]) -> dict[str, Raw]:
    """Return the renditions by size, which the query parameter `t` names."""
    return {parse_qs(urlsplit(link["$"]).query).get("t", [""])[0]: link for link in links if link.get("$")}
