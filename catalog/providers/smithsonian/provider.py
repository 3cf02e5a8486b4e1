"""Smithsonian Institution, Open Access: images in the public domain (CC0); the source of each is the museum it belongs to.

The collection is walked by the first two digits of the items' hashes, which keeps each list short. Before anything is pulled, the museums'
unit codes are compared with those known here: a new or a vanished one stops the run and says what to change in `units.py`.
https://www.si.edu/openaccess/devtools
"""

from datetime import date, timedelta
from typing import Any

from catalog.ingestion import (
    CC0,
    ApiKey,
    Client,
    Counted,
    Fatal,
    Image,
    Mapped,
    Provider,
    Rate,
    Raw,
    Retry,
    Skip,
    Window,
    dig,
    missing,
)
from catalog.providers.smithsonian.units import DESCRIPTIONS, RANKS, SOURCES

API = "https://api.si.edu/openaccess/api/v1.0"
ROWS = 1000


class Smithsonian(Provider):
    name = "smithsonian"
    strings = {"image": "smithsonian"}
    schedule = "@weekly"
    start_date = date(2020, 1, 1)
    rate = Rate(per_hour=1000)
    load_timeout = timedelta(hours=6)
    key = ApiKey("API_KEY_DATA_GOV", "api_key", "https://api.data.gov/signup/")
    params = {"rows": ROWS}
    pages = Counted(
        f"{API}/search", items="response.rows", param="start", first=0, step=ROWS, total="response.rowCount"
    )

    def rounds(self, client: Client, window: Window | None) -> list[dict[str, Any]]:
        check_units(client)
        return [
            {"q": f"online_media_type:Images AND media_usage:CC0 AND hash:{prefix:02x}*"}
            for prefix in range(256)
        ]

    def record(self, raw: Raw) -> Mapped:
        described = as_dict(dig(raw, "content", "descriptiveNonRepeating"))
        landing, media = (
            described.get("record_link") or described.get("guid"),
            as_list(dig(described, "online_media", "media")),
        )
        unit = str(described.get("unit_code") or "").strip()
        if skip := missing(landing_url=landing, image=media):
            return skip
        if unit not in SOURCES:
            return Skip("unknown unit code")
        common = {
            "foreign_landing_url": landing,
            "license": CC0,
            "title": raw.get("title"),
            "creator": creator(dig(raw, "content")),
            "source": SOURCES[unit],
            "tags": tags(as_dict(dig(raw, "content", "indexedStructured"))),
            "meta_data": meta_data(raw, described, unit),
        }
        return [self._image(as_dict(medium), common) for medium in media]

    @staticmethod
    def _image(medium: Raw, common: dict[str, Any]) -> Image | Skip:
        if medium.get("type") != "Images" or dig(medium, "usage", "access") != "CC0":
            return Skip("not a CC0 image")
        if skip := missing(identifier=medium.get("idsId"), file=medium.get("content")):
            return skip
        return Image(foreign_identifier=medium["idsId"], url=medium["content"], **common)


def check_units(client: Client) -> None:
    """Raises Fatal when the museums of the API are not the ones known here, Retry when it names none."""

    def named(body: Any) -> None:
        if not dig(body, "response", "terms"):
            raise Retry("the list of unit codes is empty")

    listed = dig(
        client.get_json(f"{API}/terms/unit_code", {"q": "online_media_type:Images"}, check=named),
        "response",
        "terms",
    )
    new, gone = sorted(set(listed) - SOURCES.keys()), sorted(SOURCES.keys() - set(listed))
    if new or gone:
        changes = [f"add {', '.join(f'`{c}`' for c in new)}"] * bool(new) + [
            f"delete {', '.join(f'`{c}`' for c in gone)}"
        ] * bool(gone)
        raise Fatal(
            f"the Smithsonian's unit codes changed; in SOURCES of catalog/providers/smithsonian/units.py: {'; '.join(changes)}."
        )


def as_dict(value: Any) -> dict[str, Any]:
    """The value, or {} when it is of another type: these records hold anything anywhere."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def creator(content: Any) -> str | None:
    """All names of the best rank, in words; else the first main personal name of the index."""
    named = [
        n
        for n in as_list(dig(content, "freetext", "name"))
        if isinstance(dig(n, "content"), str) and n["content"].strip()
    ]
    ranked = [
        (RANKS.get(str(n.get("label")).strip().lower()), n["content"])
        for n in named
        if "unknown" not in n["content"].lower()
    ]
    if best := [
        name
        for rank, name in ranked
        if rank is not None and rank == min(r for r, _ in ranked if r is not None)
    ]:
        return " and ".join(("; ".join(best[:-1]), best[-1])) if len(best) > 1 else best[0]
    indexed = as_list(dig(content, "indexedStructured", "name"))
    return next(
        (
            c
            for n in indexed
            if str(dig(n, "type")).lower() == "personal_main"
            and isinstance(c := dig(n, "content"), str)
            and c
        ),
        None,
    )


def tags(indexed: dict[str, Any]) -> list[Any]:
    return [
        tag for key in ("date", "object_type", "topic", "place") for tag in as_list(indexed.get(key)) if tag
    ]


def meta_data(raw: Raw, described: dict[str, Any], unit: str) -> dict[str, Any]:
    notes = [
        n for n in as_list(dig(raw, "content", "freetext", "notes")) if isinstance(dig(n, "content"), str)
    ]

    def joined(*labels: str) -> str:
        return " ".join(n["content"] for n in notes if str(n.get("label")).strip().lower() in labels)

    meta = {
        "unit_code": unit,
        "data_source": described.get("data_source"),
        "description": joined(*DESCRIPTIONS),
        "label_text": joined("label text"),
    }
    return {key: value for key, value in meta.items() if value}
