"""Made-up providers: what their APIs hold, how these answer, and what the catalog must make of it. Pure.

The addresses and forms are those of real providers, so that the catalog's own code pulls them. Records come
in groups: `core` stays for ever, `gone…` are what the soak deletes and restores, and each generation brings a
group `new…` more. A generation also changes the title of every record.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
import orjson

from catalog.core.media import MediaType

CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
SENSITIVE_EVERY = 10  # the title of one record in so many holds a sensitive term
ODD_EVERY = 97  # one item in so many cannot be kept, because it has no identifier


class Source(msgspec.Struct, frozen=True):
    """A provider and what its API holds.

    Attributes:
        name: The provider's folder in `catalog/providers`.
        string: Its name in the catalog.
        media_type: Of all its records.
        host: Of its API.
        page: Items on a page.
        core: Records of the group that stays.
        group: Records of each group that is deleted and restored.
        growth: Records that each generation adds.
        url: Begins each identifier, where identifiers are addresses.
    """

    name: str
    string: str
    media_type: MediaType
    host: str
    page: int
    core: int
    group: int
    growth: int
    url: str = ""

    @property
    def dag_id(self) -> str:
        return f"{self.name}_workflow"

    def size(self, group: str) -> int:
        """Records of a group."""
        return self.core if group == "core" else self.growth if group.startswith("new") else self.group

    def identifiers(self, group: str) -> Iterator[str]:
        """Foreign identifiers of a group, as the catalog stores them."""
        return (self.identifier(group, number) for number in range(self.size(group)))

    def identifier(self, group: str, number: int) -> str:
        return f"{self.url}{group}x{number:05}"


SOURCES = {
    source.name: source
    for source in (
        Source("stocksnap", "stocksnap", "image", "stocksnap.io", 12, 160, 20, 6),
        Source("nappy", "nappy", "image", "api.nappy.co", 60, 900, 60, 40),
        Source("smk", "smk", "image", "api.smk.dk", 300, 3000, 200, 100, "https://iip.smk.dk/iiif/jp2/"),
        Source("jamendo", "jamendo", "audio", "api.jamendo.com", 60, 900, 60, 40),
    )
}
HOSTS = (*(source.host for source in SOURCES.values()), "cdn.stocksnap.io")
BY_HOST = {source.host: source for source in SOURCES.values()}
STATIC_GROUPS = ("core", "gone0", "gone1", "gone2", "gone3")


def groups(generation: int) -> list[str]:
    """The groups that an API holds in a generation."""
    return [*STATIC_GROUPS, *(f"new{number}" for number in range(1, generation + 1))]


def group_of(identifier: str) -> str:
    """The group in a foreign identifier; "" when it is none of ours."""
    found = re.search(r"(core|gone\d+|new\d+)x\d{5}$", identifier)
    return found.group(1) if found else ""


def title(number: int, generation: int) -> str:
    """The title of a record, as the catalog stores it."""
    return f"{'Water' if number % SENSITIVE_EVERY == 0 else 'Made'} G{generation}"


def generation_of(title_: str | None) -> int | None:
    """The generation that a stored title is of."""
    found = re.fullmatch(r"(?:Water|Made) G(\d+)", title_ or "")
    return int(found.group(1)) if found else None


@cache
def items(name: str, generation: int) -> list[dict[str, Any]]:
    """All items of an API in a generation, in its order, with those that cannot be kept."""
    source, found = SOURCES[name], list[dict[str, Any]]()
    make = _ITEMS[name]
    for group in groups(generation):
        for number in range(source.size(group)):
            found.append(
                make(source.identifier(group, number), title(number, generation), number, generation)
            )
            if len(found) % ODD_EVERY == 0:
                found.append(make(None, title(number, generation), number, generation))
    return found


def odd(name: str, generation: int) -> int:
    """Items of a generation that cannot be kept."""
    return len(items(name, generation)) - sum(SOURCES[name].size(group) for group in groups(generation))


# items


def _snap(identifier: str | None, text: str, number: int, generation: int) -> dict[str, Any]:
    return {
        "img_id": identifier,
        "keywords": [*text.lower().split(), "bridge"],
        "img_width": 960,
        "img_height": 640,
        "author_name": "Ada Snapper",
        "downloads_raw": number % 50 + generation,
    }


def _nappy(identifier: str | None, text: str, number: int, generation: int) -> dict[str, Any]:
    return {
        "foreign_identifier": identifier,
        "foreign_landing_url": f"https://nappy.co/photo/{number}",
        "url": f"https://images.nappy.co/photo/{identifier}.jpg",
        "filetype": "jpg",
        "title": text,
        "tags": "bridge,made,up",
        "downloads": number % 70 + generation,
    }


def _smk(identifier: str | None, text: str, number: int, generation: int) -> dict[str, Any]:
    return {
        "id": None,
        "object_number": f"KMS{number}" if identifier else None,
        "image_iiif_id": identifier,
        "rights": CC0,
        "titles": [{"title": text}],
        "image_width": 2048,
        "image_height": 1024,
        "image_size": 1000 + generation,
        "created": "2026-01-01T00:00:00Z",
    }


def _jamendo(identifier: str | None, text: str, number: int, generation: int) -> dict[str, Any]:
    return {
        "id": identifier,
        "name": text,
        "duration": 180,
        "artist_name": "Bo Maker",
        "artist_id": "7",
        "artist_idstr": "bo.maker",
        "shareurl": f"https://www.jamendo.com/track/{number}",
        "audio": f"https://prod-1.storage.jamendo.com/?trackid={identifier}&format=mp32",
        "license_ccurl": "http://creativecommons.org/licenses/by/4.0/",
        "stats": {"rate_listened_total": number % 90 + generation},
        "musicinfo": {"tags": {"genres": ["made"], "instruments": [], "vartags": []}},
    }


_ITEMS: dict[str, Callable[[str | None, str, int, int], dict[str, Any]]] = {
    "stocksnap": _snap,
    "nappy": _nappy,
    "smk": _smk,
    "jamendo": _jamendo,
}


# answers


def page_of(name: str, path: str, query: Mapping[str, str]) -> int:
    """Where a request's page begins: an offset, in items."""
    source = SOURCES[name]
    if name == "stocksnap":
        return (int(path.rstrip("/").rpartition("/")[2]) - 1) * source.page
    if name == "nappy":
        return (int(query.get("page", "1")) - 1) * source.page
    return int(query.get("offset", "0"))


def pages(name: str, generation: int) -> int:
    """Requests of a pull that nothing disturbs: those that go by offset ask once more, beyond the end."""
    source, total = SOURCES[name], len(items(name, generation))
    return -(-total // source.page) + (name in ("smk", "jamendo"))


def answer(name: str, generation: int, offset: int) -> bytes:
    """The JSON of a page."""
    source, everything = SOURCES[name], items(name, generation)
    listed, total = everything[offset : offset + source.page], len(everything)
    following = offset // source.page + 2 if offset + source.page < total else False
    if name == "stocksnap":
        return orjson.dumps({"results": listed, "nextPage": following})
    if name == "nappy":
        return orjson.dumps({"images": listed, "next_page": following, "total_results": total})
    if name == "smk":
        return orjson.dumps({"found": total, "offset": offset, "items": listed})
    headers = {
        "status": "success",
        "code": 0,
        "error_message": "",
        "warnings": "",
        "results_count": len(listed),
        "results_fullcount": total,
    }
    return orjson.dumps({"headers": headers, "results": listed})
