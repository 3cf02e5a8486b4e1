"""Made-up providers: their APIs' content and responses, and the records that the catalog must store. Pure.

Addresses and formats are those of real providers, so the catalog's own code pulls them. Records belong to
groups: `core` is permanent, `deletable…` are deleted and restored by the soak, and each generation adds a
group `new…`. A generation also changes the title of every record.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import msgspec
import orjson

from catalog.core.media import MediaType
from catalog.ingestion.registry import dag_id_of
from catalog.local.airflow_api import JsonObject

CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"
SENSITIVE_EVERY = 10  # the title of every tenth record has a sensitive term
ODD_EVERY = 97  # every 97th item has no identifier, so it is skipped


class Source(msgspec.Struct, frozen=True):
    """A provider and the content of its API.

    Attributes:
        name: Folder of the provider in `catalog/providers`.
        catalog_name: Name of the provider in the catalog.
        media_type: Media type of all records.
        host: Host of the API.
        page: Items per page.
        core: Records of the permanent group.
        group: Records of each group that is deleted and restored.
        growth: Records that each generation adds.
        url: Prefix of each identifier, where identifiers are addresses.
    """

    name: str
    catalog_name: str
    media_type: MediaType
    host: str
    page: int
    core: int
    group: int
    growth: int
    url: str = ""

    @property
    def dag_id(self) -> str:
        return dag_id_of(self.name)

    def size(self, group: str) -> int:
        """Return the number of records of a group."""
        return self.core if group == "core" else self.growth if group.startswith("new") else self.group

    def identifiers(self, group: str) -> Iterator[str]:
        """Return the foreign identifiers of a group, as the catalog stores them."""
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
STATIC_GROUPS = ("core", "deletable0", "deletable1", "deletable2", "deletable3")


def groups(generation: int) -> list[str]:
    """Return the groups that an API has in a generation."""
    return [*STATIC_GROUPS, *(f"new{number}" for number in range(1, generation + 1))]


def group_of(identifier: str) -> str:
    """Return the group of a foreign identifier; "" if it is not one of ours."""
    found = re.search(r"(core|deletable\d+|new\d+)x\d{5}$", identifier)
    return found.group(1) if found else ""


def title(number: int, generation: int) -> str:
    """Return the title of a record, as the catalog stores it."""
    return f"{'Water' if number % SENSITIVE_EVERY == 0 else 'Made'} G{generation}"


def generation_of(title_: str | None) -> int | None:
    """Return the generation of a stored title; None for a title that is not one of ours."""
    found = re.fullmatch(r"(?:Water|Made) G(\d+)", title_ or "")
    return int(found.group(1)) if found else None


@cache
def items(name: str, generation: int) -> list[JsonObject]:
    """Return all items of an API in a generation, in its order, including those that are skipped."""
    source, found = SOURCES[name], list[JsonObject]()
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
    """Return the number of items of a generation that are skipped."""
    return len(items(name, generation)) - sum(SOURCES[name].size(group) for group in groups(generation))


# items


def _stocksnap(identifier: str | None, title: str, number: int, generation: int) -> JsonObject:
    return {
        "img_id": identifier,
        "keywords": [*title.lower().split(), "bridge"],
        "img_width": 960,
        "img_height": 640,
        "author_name": "Ada Snapper",
        "downloads_raw": number % 50 + generation,
    }


def _nappy(identifier: str | None, title: str, number: int, generation: int) -> JsonObject:
    return {
        "foreign_identifier": identifier,
        "foreign_landing_url": f"https://nappy.co/photo/{number}",
        "url": f"https://images.nappy.co/photo/{identifier}.jpg",
        "filetype": "jpg",
        "title": title,
        "tags": "bridge,made,up",
        "downloads": number % 70 + generation,
    }


def _smk(identifier: str | None, title: str, number: int, generation: int) -> JsonObject:
    return {
        "id": None,
        "object_number": f"KMS{number}" if identifier else None,
        "image_iiif_id": identifier,
        "rights": CC0,
        "titles": [{"title": title}],
        "image_width": 2048,
        "image_height": 1024,
        "image_size": 1000 + generation,
        "created": "2026-01-01T00:00:00Z",
    }


def _jamendo(identifier: str | None, title: str, number: int, generation: int) -> JsonObject:
    return {
        "id": identifier,
        "name": title,
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


_ITEMS: dict[str, Callable[[str | None, str, int, int], JsonObject]] = {
    "stocksnap": _stocksnap,
    "nappy": _nappy,
    "smk": _smk,
    "jamendo": _jamendo,
}


# responses


def page_of(name: str, path: str, query: Mapping[str, str]) -> int:
    """Return the offset of a requested page, in items."""
    source = SOURCES[name]
    if name == "stocksnap":
        return (int(path.rstrip("/").rpartition("/")[2]) - 1) * source.page
    if name == "nappy":
        return (int(query.get("page", "1")) - 1) * source.page
    return int(query.get("offset", "0"))


def pages(name: str, generation: int) -> int:
    """Return the number of requests of an undisturbed pull.

    By offset, and without a total, it makes one more, past the end.
    """
    source, total = SOURCES[name], len(items(name, generation))
    return -(-total // source.page) + (name in ("smk", "jamendo", "stocksnap"))


def response(name: str, generation: int, offset: int) -> bytes:
    """Return the JSON of a page."""
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
