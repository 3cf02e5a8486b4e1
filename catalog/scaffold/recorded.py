"""The recording of a new provider: made up from recorded pages of the real API, or from nothing."""

import copy
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from catalog.core.errors import Fatal, Refused
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.recording import Interaction, read_recording
from catalog.ingestion.records import dig
from catalog.ingestion.responses import describe, steps, value_at
from catalog.scaffold.fields import Fields, fields_of
from catalog.scaffold.made_up import EACH, MadeUp
from catalog.scaffold.paging import Address, Paging, Recorded, beside, items_path, paging_of

MAX_ITEMS = 4
MAX_DEPTH = 100  # of nested lists and objects
_SURROGATE = re.compile("[\ud800-\udfff]")
_FILES = re.compile(r"iiif|image|media|file|cdn", re.IGNORECASE)


class Shape(msgspec.Struct):
    """What was found in the pages of an API.

    Attributes:
        paging: How its pages are read.
        fields: What the values of its items mean.
        body: A response without items.
        items: A few items.
    """

    paging: Paging
    fields: Fields
    body: Json
    items: list[JsonObject]


def read_pages(paths: Iterable[Path], endpoint: str) -> list[Json]:
    """Read recorded responses that list items.

    Args:
        paths: Files with one response each, or folders of such files; a folder that `catalog record` wrote
            holds requests of other kinds, too, of which those to the endpoint are read.
        endpoint: The address of the list, without its query.

    Raises:
        Refused: There is no such file, one cannot be read, or none holds a list of objects.
    """
    bodies = [read_page(file) for path in paths for file in _files(path, endpoint)]
    listing = [body for body in bodies if items_path(body) is not None]
    if not listing:
        found = describe(bodies[0]) if bodies else "there is no JSON file"
        raise Refused(f"no recorded page holds a list of objects: {found}")
    return [body for body in listing if items_path(body) == items_path(listing[0])]


def requests_of(paths: Iterable[Path], endpoint: str) -> list[Recorded]:
    """Return the requests for pages that recordings hold, in their order; of other files, nothing is known.

    Raises:
        Refused: A recording cannot be read.
    """
    found = (_recorded(path) for path in paths)
    return [
        Recorded(
            {**one.request.params, **_object(one.request.json)},
            {name.lower(): value for name, value in one.response.headers.items()},
        )
        for interactions in found
        for one in interactions or ()
        if _same(one.request.url, endpoint)
    ]


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def read_page(path: Path) -> Json:
    """Read a response.

    Raises:
        Refused: The file is not JSON, or not in UTF-8, or nested too deeply.
    """
    content = path.read_bytes()
    if not content.strip():
        raise Refused(f"{path} is empty; save the response of the API again")
    try:
        content.decode(json.detect_encoding(content))
        return _clean(read_json(content))
    except UnicodeDecodeError as error:
        raise Refused(
            f"{path} is not in UTF-8: {error.reason} at byte {error.start}; convert it, for example by "
            "iconv -f latin1 -t utf-8"
        ) from None
    except ValueError as error:
        raise Refused(
            f"{path} cannot be read as JSON: {error}; save the body of one response, and nothing else"
        ) from None


def _clean(value: Json, depth: int = 0) -> Json:
    """Replace lone surrogates, which cannot be written. Raises ValueError if the value is nested too deep."""
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(below, depth + 1) for below in value]
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", key): _clean(below, depth + 1) for key, below in value.items()}
    return value


def _files(path: Path, endpoint: str) -> list[Path]:
    interactions = _recorded(path)
    if interactions is None:
        return sorted(path.glob("*.json")) if path.is_dir() else [path]
    ours = [i for i in interactions if _same(i.request.url, endpoint)]
    folder = path if path.is_dir() else path.parent
    return [folder / str(i.response.body_file) for i in ours or interactions]


def _same(url: str, endpoint: str) -> bool:
    return url.rstrip("/") == endpoint.rstrip("/")


def _recorded(path: Path) -> list[Interaction] | None:
    """Return the good responses of a recording in the order of their requests; None if it is not one."""
    recording = path / "recording.json" if path.is_dir() else path
    if recording.name != "recording.json" or not recording.is_file():
        return None
    try:
        interactions = read_recording(recording.parent).interactions
    except Fatal as error:
        raise Refused(
            f"{str(error).rstrip('.')}; record again by ./just catalog record, and rename a page of that name"
        ) from None
    good = [i for i in interactions if i.response.status == 200 and i.response.body_file]
    return sorted(good, key=lambda i: str(i.response.body_file))  # their names count the requests


def shape_of(
    bodies: list[Json],
    url: Address,
    media: tuple[MediaType, ...],
    *,
    real: bool,
    requests: Sequence[Recorded] = (),
) -> Shape:
    """Find out what pages hold, and choose a few items.

    Args:
        bodies: Responses in the order of their pages.
        url: The address of the first one.
        media: The media types of the items.
        real: The values are real, so others are made up.
        requests: The requests for them, as far as they are recorded.
    """
    paging = paging_of(bodies, url, requests)
    listed = [i for body in bodies for i in value_at(body, paging.items) if isinstance(i, dict)]
    items = list({orjson.dumps(item): item for item in listed}.values())
    fields = fields_of(items, media)
    if not fields.url:
        paging.beside = address_beside(bodies[0], paging)
    body = replaced(bodies[0], paging.items, [])
    chosen = varied(items, fields.wrapper)
    if real:
        item_path = (*steps(paging.items), EACH)
        read = [*_read_by(paging), *((*item_path, *path) for path in fields.paths())]
        keep = [(*item_path, *path) for path in fields.kept()]
        made_up = MadeUp(bodies, read=read, keep=keep, longest=fields.longest())
        body, chosen = made_up.value(body), [made_up.value(item, item_path) for item in chosen]
    return Shape(paging, fields, body, chosen)


def _read_by(paging: Paging) -> Iterator[tuple[str, ...]]:
    """Yield the paths that a paginator reads."""
    named = (paging.following, paging.more, paging.pages, paging.total, paging.repeated)
    for path in (paging.items, *filter(None, named), *paging.beside.values()):
        yield tuple(steps(path))


def address_beside(body: Json, paging: Paging) -> dict[str, str]:
    """Return name and path of an address beside the items of a response, such as an image server's."""
    found = {
        re.sub(r"\W", "_", steps(path)[-1], flags=re.ASCII): path
        for path, value in beside(body, paging.items)
        if isinstance(value, str) and value.startswith("http") and path != paging.following
    }
    best = max(found, key=lambda name: bool(_FILES.search(name)), default=None)
    return {best: found[best]} if best else {}


def varied(items: list[JsonObject], wrapper: Sequence[str | int] = ()) -> list[JsonObject]:
    """Return a few items in their order: the first ones of each structure, then others.

    Args:
        items: The items.
        wrapper: Path of the object within each item whose structure counts.
    """
    seen: set[str] = set()
    first = []
    for number, item in enumerate(items):
        held = dig(item, *wrapper)
        kind = repr(sorted((key, type(value).__name__) for key, value in held.items()))
        if kind not in seen:
            seen.add(kind)
            first.append(number)
    rest = [number for number in range(len(items)) if number not in first]
    return [items[number] for number in sorted((first + rest)[:MAX_ITEMS])]


def replaced(body: Json, path: str, value: Json) -> Json:
    """Return a copy of a response with another value at a dotted path; "" is the body itself."""
    if not path:
        return value
    body = copy.deepcopy(body)
    *parents, last = steps(path)
    dig(body, *parents)[last] = value
    return body


def write_recording(name: str, url: Address, shape: Shape, folder: Path, about: str) -> None:
    """Write a recording of two pages, and an empty one if the API has no other end.

    The last item of the second page has no identifier, so that it is skipped.
    """
    paging, items = shape.paging, shape.items
    half = len(items) // 2 + 1  # no page may hold more items than the first
    pages = [items[:half], items[half:]]
    if path := shape.fields.foreign_identifier:
        without = copy.deepcopy(items[-1])
        dig(without, *path[:-1])[path[-1]] = None
        pages[1].append(without)
    if paging.kind == "Counted" and not (paging.more or paging.pages):
        pages.append([])
    total = sum(map(len, pages))
    interactions: list[JsonObject] = []
    for number, listed in enumerate(pages):
        body = replaced(shape.body, paging.items, listed)
        for target, value in _envelope(paging, url.endpoint, number, len(pages), total).items():
            body = replaced(body, target, _like(value_at(body, target), value))
        _write_json(folder / f"page_{number + 1}.json", body)
        before = sum(map(len, pages[:number]))
        request = _request(url, paging, number, before)
        response = {
            "status": 200,
            "headers": {"content-type": "application/json", **_headers(paging, url, number, len(pages))},
            "body_file": f"page_{number + 1}.json",
        }
        interactions.append({"request": request, "response": response})
    # A request without parameters fits any; so the first page comes last.
    interactions.sort(key=lambda i: not i["request"]["params"] and not i["request"].get("json"))
    document = {"provider": name, "date": None, "about": about, "interactions": interactions}
    _write_json(folder / "recording.json", document)


def _envelope(paging: Paging, endpoint: str, number: int, pages: int, total: int) -> dict[str, Any]:
    """Return the values, by path, that the pages of the recording have beside their items."""
    last, following = number + 1 >= pages, f"page-{number + 2}"
    envelope: dict[str, Any] = {}
    if paging.total:
        envelope[paging.total] = total
    if paging.pages:
        envelope[paging.pages] = pages
    if paging.repeated:
        envelope[paging.repeated] = number + paging.first
    if paging.more:
        envelope[paging.more] = None if last else number + 2
    if paging.following:
        link = f"{endpoint}?page={number + 2}"
        envelope[paging.following] = None if last else link if paging.kind == "Links" else following
    return envelope


def _headers(paging: Paging, url: Address, number: int, pages: int) -> dict[str, str]:
    """Return the header that names the page after one of the recording."""
    if number + 1 >= pages:
        return {}
    if paging.kind == "Links" and not paging.following:
        return {"link": f'<{url.endpoint}?page={number + 2}>; rel="next"'}
    return {paging.following_header: f"page-{number + 2}"} if paging.following_header else {}


def _like(before: Json, value: Any) -> Any:
    """Return a value in the type of the one that it replaces."""
    if isinstance(before, bool):
        return bool(value)
    return f"{value}" if isinstance(before, str) and isinstance(value, int) else value


def _request(url: Address, paging: Paging, number: int, before: int) -> JsonObject:
    """Return the request for a page, as far as it tells the page from others."""
    params: JsonObject = {}
    if paging.kind == "Counted":
        params = {paging.param: paging.first + (before if paging.step > 1 else number)}
    elif number:
        tokens = paging.kind == "Tokens"
        params = {paging.param: f"page-{number + 1}"} if tokens else {"page": number + 1}
    if paging.param in url.body(paging.param):
        return {"method": "POST", "url": url.endpoint, "params": {}, "json": params}
    sent = {name: f"{value}" for name, value in params.items()}
    return {"method": "POST" if url.posted else "GET", "url": url.endpoint, "params": sent}


def _write_json(path: Path, value: object) -> None:
    path.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
