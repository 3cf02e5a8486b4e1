"""New York Public Library, Digital Collections: items that its rights statement puts in the public domain (CC0).

A search names the items; each is then asked for by itself, and every capture (page, side, plate) of it is a record. Of the renditions,
the largest is stored. https://api.repo.nypl.org/
"""

import re
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

from catalog.ingestion import (  # fmt: skip
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

API = "http://api.repo.nypl.org/api/v2/items"
SIZES = "gvqwr"  # full size, then 2560, 1600, 760 and 300 pixels on the long side


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
    pages = Counted(f"{API}/search/", items="nyplAPI.response.result", total="nyplAPI.response.numResults")

    def detail(self, raw: Raw, client: Client) -> Raw:
        uuid = raw.get("uuid")
        return (
            {**raw, "detail": dig(client.get_json(f"{API}/item_details/{uuid}"), "nyplAPI", "response")}
            if uuid
            else raw
        )

    def record(self, raw: Raw) -> Mapped:
        if not raw.get("uuid"):
            return Skip("no identifier")
        captures = listed(dig(raw, "detail", "sibling_captures", "capture"))
        if not captures:
            return Skip("no captures")
        mods = dig(raw, "detail", "mods") or {}
        return [self._image(capture, mods) for capture in captures]

    @staticmethod
    def _image(capture: Raw, mods: Raw) -> Image | Skip:
        image_id, landing = text(capture, "imageID"), text(capture, "itemLink")
        link: Raw = largest(listed(dig(capture, "imageLinks", "imageLink")))
        license_ = license_from_url(text(capture, "rightsStatementURI"))
        if skip := missing(identifier=image_id, landing_url=landing, file_of_a_known_size=link):
            return skip
        if license_ is None:
            return Skip("no license")
        meta, kind = meta_data(mods), re.search(r" .(jpeg|gif) ", str(link.get("description")))
        return Image(
            foreign_identifier=image_id,
            foreign_landing_url=landing,
            url=without_param(link["$"], "download"),
            license=license_,
            filetype=kind.group(1) if kind else None,
            title=text(mods, "titleInfo", "title"),
            creator=next(
                (text(n, "namePart") for n in listed(mods.get("name")) if n.get("usage") == "primary"), None
            ),
            category="photograph" if meta.get("genre") == "Photographs" else None,
            tags=[
                topic
                for s in listed(mods.get("subject"))
                for t in listed(s.get("topic"))
                if (topic := t.get("$"))
            ],
            meta_data=meta,
        )


def listed(value: Any) -> list[Any]:
    """MODS as JSON: several are a list, a single one is the object itself."""
    return value if isinstance(value, list) else [] if value is None else [value]


def text(node: Any, *path: str) -> Any:
    """The `$` at the end of a path; in a list, the first entry that has the next step counts."""
    for step in (*path, "$"):
        node = next((n[step] for n in listed(node) if isinstance(n, dict) and step in n), None)
    return node


def largest(links: list[Raw]) -> Raw | None:
    """The link with the best size; the query parameter `t` names it."""
    by_size = {parse_qs(urlsplit(link["$"]).query).get("t", [""])[0]: link for link in links if link.get("$")}
    return next((by_size[size] for size in SIZES if size in by_size), None)


def meta_data(mods: Raw) -> dict[str, Any]:
    kinds, created = listed(mods.get("typeOfResource")), listed(dig(mods, "originInfo", "dateCreated"))
    points = {d.get("point"): d.get("$") for d in created}
    meta = {
        "type_of_resource": next(
            (k.get("$") for k in kinds if len(kinds) == 1 or k.get("usage") == "primary"), None
        ),
        "genre": text(mods, "genre"),
        "date_issued": text(mods, "originInfo", "dateIssued"),
        "date_created": "-".join(points[p] for p in ("start", "end") if points.get(p))
        or text(mods, "originInfo", "dateCreated"),
        "publisher": text(mods, "originInfo", "publisher"),
        "physical_description": text(mods, "physicalDescription", "note"),
    }
    return {key: value for key, value in meta.items() if value}
