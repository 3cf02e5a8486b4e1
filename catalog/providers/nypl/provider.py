"""New York Public Library, Digital Collections: items that the library puts in the public domain (CC0).

A search names the items; each is then asked for by itself, and every capture (page, side, plate) of it is a
record. Of the renditions, the largest is stored. https://api.repo.nypl.org/
"""

import re
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

from catalog.core.errors import UnexpectedAnswer
from catalog.ingestion.answers import as_count, seen, values_at
from catalog.provider_api import (
    ApiKey,
    Client,
    Counted,
    Image,
    Mapped,
    Provider,
    Rate,
    Raw,
    Skip,
    dig,
    license_from_url,
    missing,
    without_param,
)
from catalog.providers.nypl.mods import creator, listed, meta_data, text, topics

API = "https://api.repo.nypl.org/api/v2/items"
SIZES = "gvqwr"  # full size, then 2560, 1600, 760 and 300 pixels on the long side
THUMBNAIL = "r"


def succeeded(body: Any) -> None:
    """An answer that says how it went must say "success"; one that does not is judged by what it holds."""
    headers = dig(body, "nyplAPI", "response", "headers")
    status, message = text(headers, "status"), text(headers, "message")
    if status is not None and str(status).strip().lower() != "success":
        raise UnexpectedAnswer(f"the status is {str(status)[:40]!r}: {str(message)[:200]}; {seen(body)}")


def described(body: Any) -> None:
    """The answer about one item holds its description, and captures or the number of them."""
    succeeded(body)
    values_at(body, "nyplAPI.response.mods")
    if not captures_of(body) and announced(body) is None:
        raise UnexpectedAnswer("there are neither captures nor `numResults`, the number of them")


def captures_of(body: Any) -> list[Raw]:
    """The captures in the answer about an item."""
    return listed(dig(body, "nyplAPI", "response", "sibling_captures", "capture"))


def announced(body: Any) -> int | None:
    """How many captures the item has, if its answer tells."""
    return as_count(text(dig(body, "nyplAPI", "response"), "numResults"))


MOST_PAGES = 200  # of captures of one item


class Nypl(Provider):
    name = "nypl"
    strings = {"image": "nypl"}
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
        """One item with its description and all its captures, which come in pages, too."""
        if not (uuid := raw.get("uuid")):
            return raw
        url, page, captures = f"{API}/item_details/{uuid}", 1, list[Raw]()
        while True:
            asked = {"page": page, "per_page": self.params["per_page"]}
            body = client.get_json(url, asked, check=described)
            new = [capture for capture in captures_of(body) if capture not in captures]
            captures += new
            if len(captures) >= (whole := announced(body) or 0):
                return {**raw, "mods": dig(body, "nyplAPI", "response", "mods"), "captures": captures}
            if not new or page >= MOST_PAGES:
                raise UnexpectedAnswer(f"{len(captures)} of {whole} captures came")
            page += 1

    def record(self, raw: Raw) -> Mapped:
        if not raw.get("uuid"):
            return Skip("no identifier")
        if not raw["captures"]:
            return Skip("no captures")
        return [self._image(capture, raw["mods"]) for capture in raw["captures"]]

    @staticmethod
    def _image(capture: Raw, mods: Raw) -> Image | Skip:
        image_id, landing = text(capture, "imageID"), text(capture, "itemLink")
        links = by_size(listed(dig(capture, "imageLinks", "imageLink")))
        link = next((links[size] for size in SIZES if size in links), None)
        license_ = license_from_url(text(capture, "rightsStatementURI"))
        if skip := missing(identifier=image_id, landing_url=landing, file_of_a_known_size=link):
            return skip
        if license_ is None or link is None:
            return Skip("no license")
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
    """The renditions by their size, which the query parameter `t` names."""
    return {parse_qs(urlsplit(link["$"]).query).get("t", [""])[0]: link for link in links if link.get("$")}
