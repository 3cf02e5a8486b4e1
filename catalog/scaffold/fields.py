"""Guesses what the values of an API's items mean. A person checks it in `provider.py`."""

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from catalog.core.jsontypes import Json, JsonObject
from catalog.core.licenses import license_from_name, license_from_url
from catalog.core.media import MediaType
from catalog.core.numbers import number_of
from catalog.ingestion.filetypes import EXTENSIONS
from catalog.ingestion.records import dig
from catalog.ingestion.values import size_in_bytes, width_and_height
from catalog.scaffold.made_up import EACH

Path = tuple[str | int, ...]
Values = dict[Path, list[Json]]  # of all items, by path
_SMALL = re.compile(r"thumb|preview|small|tiny|icon|medium|low", re.IGNORECASE)
_LARGE = re.compile(r"original|full|large|high|max|download|best|hq", re.IGNORECASE)


class Fields(msgspec.Struct):
    """Paths, within an item, of the values that a record needs."""

    foreign_identifier: Path | None = None
    foreign_landing_url: Path | None = None
    url: dict[MediaType, Path] = {}
    license: Path | None = None  # of its address, or else of its name
    license_is_name: bool = False
    license_version: Path | None = None  # if its name stands alone
    thumbnail: Path | None = None
    title: Path | None = None
    creator: Path | None = None
    creator_url: Path | None = None
    width: Path | None = None
    height: Path | None = None
    size: Path | None = None  # of width and height in one text
    duration: Path | None = None
    filesize: Path | None = None
    tags: Path | None = None
    tag_name: str | None = None  # key of the name in tags that are objects
    medium: Path | None = None
    wrapper: Path = ()  # of the object that holds the item: `node` in GraphQL, `_source` in Elasticsearch
    meta_data: list[str] = []  # keys of that object
    unsure: list[Path] = []  # lists of files of which no position holds the largest one

    def paths(self) -> list[tuple[str, ...]]:
        """Return the paths of all values that a record needs, with EACH for the index in a list."""
        found = [path for path in msgspec.structs.astuple(self) if isinstance(path, tuple) and path]
        found += [*self.url.values(), *((*self.wrapper, key) for key in self.meta_data)]
        if self.tags and self.tag_name:
            found.append((*self.tags, 0, self.tag_name))
        return [_pattern(path) for path in found]

    def kept(self) -> list[tuple[str, ...]]:
        """Return the paths of values that are not content, and without which the mapping finds nothing."""
        return [_pattern(self.license_version)] if self.license_version else []

    def longest(self) -> int:
        """Return how many elements a list must have so that all paths lead to a value."""
        steps = [
            step for path in (*msgspec.structs.astuple(self), *self.url.values()) for step in _indexes(path)
        ]
        return max(steps, default=0) + 1


def _pattern(path: Path) -> tuple[str, ...]:
    """Return a path with EACH for the index in a list."""
    return tuple(EACH if isinstance(step, int) else step for step in path)


def _indexes(path: object) -> list[int]:
    return [step for step in path if isinstance(step, int)] if isinstance(path, tuple) else []


# Names of objects that hold an item, in GraphQL, Elasticsearch, GeoJSON, JSON:API and others.
_WRAPPERS = frozenset(
    "node _source source properties record attributes fields item document entry object".split()
)
_MEDIA_WORDS: dict[MediaType, str] = {
    "image": "image|photo|picture|img",
    "audio": "audio|sound|stream|mp3|track|song|music",
}
_KEPT = "description desc date created published views view downloads likes favorites plays comments".split()
_RIGHTS = "licen[cs]es?|rights?|copyright|terms|usage"
_PEOPLE = "creator|author|artist|photographer|user|owner|maker|by|uploader|composer|performer"


def fields_of(items: list[Json], media: tuple[MediaType, ...]) -> Fields:
    """Guess which values of the items are the fields of a record.

    Args:
        items: Items of real responses.
        media: The media types that they describe.
    """
    values: Values = {}
    wrapper, places = wrapper_of(items), largest(items)
    for item in items:
        for path, value in _leaves(item, places, depth=5 + len(wrapper)):
            values.setdefault(path, []).append(value)
    fields = Fields(wrapper=wrapper)
    urls = {path: v for path, v in values.items() if _given(v) and all(map(_is_url, _given(v)))}
    fields.license = _first(values, "", lambda v: license_from_url(v) is not None)
    if fields.license:
        del urls[fields.license]
    else:
        _license_name(fields, values)
    files = ((medium, _file(urls, medium, values)) for medium in media)
    fields.url = {medium: path for medium, path in files if path}
    fields.unsure = [
        path
        for path, at in places.items()
        if at is None and any(u[: len(path)] == path for u in fields.url.values())
    ]
    _pages(fields, {path: v for path, v in urls.items() if path not in fields.url.values()})
    fields.foreign_identifier = _identifier(
        {
            path: v
            for path, v in values.items()
            if path not in fields.url.values() and not (path in urls and any(map(_extension, _given(v))))
        },
        len(items),
        wrapper,
    )
    texts = {
        path: v
        for path, v in values.items()
        if path not in urls and all(isinstance(t, str) for t in _given(v))
    }
    own = {path: v for path, v in texts.items() if _is_own(path)}
    fields.title = _first(own, "title|name|caption|label|headline", any_key=True, shallow=True)
    fields.creator = _creator(texts, fields.title)
    _measures(fields, values)
    _tags(fields, items)
    fields.medium = _first(
        texts,
        "type|media|media_?type|kind",
        lambda v: str(v).lower() in ("image", "photo", "audio", "sound", "music"),
    )
    fields.meta_data = _rest(items, fields)
    return fields


def _pages(fields: Fields, urls: Values) -> None:
    """Guess the thumbnail, and the pages of the item and of its creator.

    Args:
        fields: The fields; these are set.
        urls: Values that are addresses, but not those of the media files.
    """
    files = {path: v for path, v in urls.items() if all(map(_extension, _given(v)))}
    pictures = (path for path, v in files.items() if any(_extension(url) == "image" for url in v))
    fields.thumbnail = _first(urls, _SMALL.pattern) or next(pictures, None)
    pages = {path: v for path, v in urls.items() if path not in files and path != fields.thumbnail}
    fields.creator_url = _first(pages, _PEOPLE, any_key=True)
    pages.pop(fields.creator_url or (), None)
    fields.foreign_landing_url = _first(
        pages, "landing|page|permalink|web|www|html|share|link|site|url|self|view"
    ) or next(iter(pages), None)


def _measures(fields: Fields, values: Values) -> None:
    """Guess width and height, or the text that holds both, the duration and the size of the file."""
    numbers = {path: v for path, v in values.items() if _given(v) and all(map(_is_measure, _given(v)))}
    fields.width, fields.height = _first(numbers, "width|w"), _first(numbers, "height|h")
    if fields.width is None or fields.height is None:
        fields.size = _first(values, "", lambda v: isinstance(width_and_height(v)[0], int))
    fields.duration = _first(numbers, "duration|length|seconds|playtime|runtime")
    others = {path: v for path, v in values.items() if path != fields.size}
    fields.filesize = _first(others, "file_?size|bytes|size", lambda v: not isinstance(v, dict | list))


def wrapper_of(items: list[Json]) -> Path:
    """Return the path of the object that holds each item: () unless the items are wrapped.

    A wrapper is the only key of all items, or has a usual name and holds more than there is beside it.
    """
    path: Path = ()
    while len(path) < 2:
        objects = [dig(item, *path) for item in items]
        if not objects or not all(isinstance(o, dict) and o for o in objects):
            break
        shared = [key for key in objects[0] if all(isinstance(o.get(key), dict) for o in objects)]
        within = (
            key
            for key in shared
            if all(len(o) == 1 for o in objects)
            or (key.lower() in _WRAPPERS and all(2 * _size(o[key]) > _size(o) for o in objects))
        )
        if (key := next(within, None)) is None:
            break
        path = (*path, key)
    return path


def _size(value: Json) -> int:
    """Return the number of values in an object."""
    return sum(1 for _ in _leaves(value, {}))


def largest(items: list[Json]) -> dict[Path, int | None]:
    """Return, by the path of a list of files, the index of its largest file, which is -1 for the last one.

    None: the lists of the items differ in that. Lists whose files are equally large are left out.
    """
    lists: dict[Path, list[list[Json]]] = {}
    for item in items:
        for path, found in _lists(item):
            lists.setdefault(path, []).append(found)
    places: dict[Path, int | None] = {}
    for path, several in lists.items():
        measured = [[_magnitude(file) for file in files] for files in several]
        measured = [sizes for sizes in measured if len(set(sizes)) > 1]
        if not measured:
            continue
        first = {sizes.index(max(sizes)) for sizes in measured}
        last = all(max(sizes) == sizes[-1] for sizes in measured)
        lengths = {len(sizes) for sizes in measured}
        places[path] = (
            first.pop() if len(first) == 1 and not (last and len(lengths) > 1) else -1 if last else None
        )
    return places


def _lists(value: Json, path: Path = (), depth: int = 6) -> Iterator[tuple[Path, list[Json]]]:
    """Yield the lists of objects with an address, and their paths; of a list, look into the first element."""
    if isinstance(value, dict) and depth:
        for key, below in value.items():
            yield from _lists(below, (*path, str(key)), depth - 1)
    elif isinstance(value, list) and value and depth:
        if all(isinstance(file, dict) and any(map(_is_url, file.values())) for file in value):
            yield path, value
        yield from _lists(value[0], (*path, 0), depth - 1)


def _magnitude(file: JsonObject) -> tuple[float, float, int]:
    """Return how large a file is said to be: by its pixels, by its bytes, by words such as `original`."""

    def measured(pattern: str) -> float:
        keys = [key for key in file if any(_fits(word, key) for word in pattern.split("|"))]
        sizes = (
            number_of(size_in_bytes(file[key])) for key in keys if not isinstance(file[key], dict | list)
        )
        return max((size for size in sizes if size is not None), default=0.0)

    width, height = measured("width|w"), measured("height|h")
    pixels = max(width, 1.0) * max(height, 1.0) if width or height else 0.0
    if not pixels:
        sides = (width_and_height(value) for value in file.values())
        pixels = max(
            (float(w) * h for w, h in sides if isinstance(w, int) and isinstance(h, int)), default=0.0
        )
    words = " ".join(f"{key} {value}" for key, value in file.items() if isinstance(value, str))
    named = bool(_LARGE.search(words)) - bool(_SMALL.search(words))
    return pixels, measured("file_?size|bytes|size"), named


def _license_name(fields: Fields, values: Values) -> None:
    """Guess where the name of the license is, and its version, if that is beside the name."""
    fields.license = _first(values, _RIGHTS, lambda v: license_from_name(v) is not None, any_key=True)
    if fields.license is None:
        versions = {path: v for path, v in values.items() if _fits("version", str(path[-1]))}
        number = r"\d(?:\.\d)?"
        fields.license_version = _first(
            versions, _RIGHTS, lambda v: bool(re.fullmatch(number, str(v))), any_key=True
        )
        if fields.license_version is None:
            return
        beside = {p: v for p, v in values.items() if p[:-1] == fields.license_version[:-1]}
        fields.license = _first(
            beside, _RIGHTS, lambda v: license_from_name(v, "4.0") is not None, any_key=True
        )
        if fields.license is None:
            fields.license_version = None
            return
    fields.license_is_name = True


def _is_own(path: Path) -> bool:
    """Return whether a text says something about the item itself, not about a person or a part."""
    people = any(_fits(_PEOPLE, str(key)) for key in path)
    return not people and not any(isinstance(step, int) for step in path[:-1])


def expression(path: Path | None) -> str | None:
    """Return the Python expression that reads a path of `raw`."""
    if path is None:
        return None
    return f"raw.get({path[0]!r})" if len(path) == 1 else f"dig(raw, {', '.join(map(repr, path))})"


def _leaves(
    value: Json, places: Mapping[Path, int | None], path: Path = (), depth: int = 5
) -> Iterator[tuple[Path, Json]]:
    """Yield paths and values of all scalars; of a list, those of its largest file, or its first element."""
    if isinstance(value, dict) and depth:
        for key, below in value.items():
            yield from _leaves(below, places, (*path, str(key)), depth - 1)
    elif isinstance(value, list) and value and depth:
        at = places.get(path) or 0
        if at < len(value):
            yield from _leaves(value[at], places, (*path, at), depth - 1)
    elif path and not isinstance(value, dict | list):
        yield path, value


def _given(values: list[Json]) -> list[Json]:
    return [value for value in values if value not in (None, "")]


def _first(
    values: Values,
    pattern: str,
    accepts: Callable[[Json], bool] = lambda _: True,
    *,
    any_key: bool = False,
    shallow: bool = False,
) -> Path | None:
    """Return the best path whose key matches and whose values are accepted.

    Args:
        values: Values by path.
        pattern: Alternatives for the last key, the best first; "" accepts any key.
        accepts: Judges a value.
        any_key: Match any key of the path.
        shallow: Prefer short paths to good keys.
    """
    ranked = []
    for order, (path, found) in enumerate(values.items()):
        keys = [str(key) for key in path if isinstance(key, str)]
        match = [
            n
            for n, word in enumerate(pattern.split("|"))
            for key in (keys if any_key else keys[-1:])
            if _fits(word, key)
        ]
        if match and any(accepts(value) for value in _given(found)):
            rank = (len(path), match[0]) if shallow else (match[0], len(path))
            ranked.append((rank, order, path))
    return min(ranked)[2] if ranked else None


def _fits(word: str, key: str) -> bool:
    """Return whether a word of a key matches: `image_url`, `imageUrl` and `image` fit `image`."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", key)
    return not word or any(re.fullmatch(word, part, re.IGNORECASE) for part in (key, *parts))


def _is_url(value: Json) -> bool:
    return isinstance(value, str) and bool(re.match(r"(?:https?:)?//[^\s/]", value))


def _is_measure(value: Json) -> bool:
    return not isinstance(value, bool) and bool(
        re.fullmatch(r"-?\d+(?:\.\d+)?|\d+(?::\d\d){1,2}", str(value))
    )


def _extension(url: Json) -> MediaType | None:
    """Return the media type that the extension in a URL says."""
    extension = str(url).partition("?")[0].rpartition(".")[2].lower()
    return next((medium for medium, known in EXTENSIONS.items() if extension in known), None)


def _file(urls: Values, medium: MediaType, values: Values) -> Path | None:
    """Return the path of the file's URL: by its extension, else by its key; large ones first."""

    def size(path: Path) -> tuple[int, float]:
        keys = " ".join(map(str, path))
        beside = {str(p[-1]): _given(v)[0] for p, v in values.items() if p[:-1] == path[:-1] and _given(v)}
        return 2 if _SMALL.search(keys) else 0 if _LARGE.search(keys) else 1, -_magnitude(beside)[0]

    fitting = [path for path, found in urls.items() if any(_extension(v) == medium for v in found)]
    fitting = fitting or [
        path
        for path, found in urls.items()
        if re.search(
            f"{_MEDIA_WORDS[medium]}|file|media|download|src", " ".join(map(str, path)), re.IGNORECASE
        )
        and all(_extension(v) in (None, medium) for v in found)
        and not re.search("page|landing", str(path[-1]), re.IGNORECASE)
    ]
    return min(fitting, key=size, default=None)


def _identifier(values: Values, number: int, wrapper: Path) -> Path | None:
    """Return the path of a value that each item has, and no two share; an address only if nothing else is."""

    def depth(path: Path) -> int:
        return len(path) - (len(wrapper) if path[: len(wrapper)] == wrapper else 0)

    unique = {
        path: found
        for path, found in values.items()
        if depth(path) <= 2
        and len({str(value) for value in found}) == len(found) == number
        and all(isinstance(v, str | int) and not isinstance(v, bool) and v != "" for v in found)
    }
    plain = {path: found for path, found in unique.items() if not any(map(_is_url, found))}
    return (
        _first(plain, "id|identifier|uuid|guid|pid|uid|nr|number|slug|key|code", shallow=True)
        or next((path for path in plain if depth(path) == 1), None)
        or _first(unique, "id|identifier|uri", shallow=True)
    )


def _creator(texts: Values, title: Path | None) -> Path | None:
    people = {p: v for p, v in texts.items() if p != title and any(_fits(_PEOPLE, str(k)) for k in p)}
    return _first(people, "name|displayname|fullname|username|" + _PEOPLE) or next(iter(people), None)


def _tags(fields: Fields, items: list[Json]) -> None:
    """Guess the tags: a list of strings, a list of objects with a name, or a string."""
    for key in ("tags", "tag", "keywords", "keyword", "subjects", "words", "labels", "topics", "categories"):
        paths = dict.fromkeys(((*fields.wrapper, key), (key,)))
        for path, value in ((path, dig(item, *path)) for path in paths for item in items):
            if isinstance(value, list) and value and isinstance(value[0], dict):
                names = [k for k in ("name", "title", "label", "term", "tag", "value") if k in value[0]]
                if names:
                    fields.tags, fields.tag_name = path, names[0]
                    return
            elif value and isinstance(value, str | list):
                fields.tags = path
                return


def _rest(items: list[Json], fields: Fields) -> list[str]:
    """Return the other keys of the items that say something: descriptions, dates, counts."""
    wrapper, deep = fields.wrapper, len(fields.wrapper)
    paths = [
        *(path for path in msgspec.structs.astuple(fields) if isinstance(path, tuple)),
        *fields.url.values(),
    ]
    used = {path[deep] for path in paths if path[:deep] == wrapper and len(path) > deep}
    items = [dig(item, *wrapper) for item in items]
    keys = dict.fromkeys(key for item in items if isinstance(item, dict) for key in item)
    scalars = [key for key in keys if all(not isinstance(dig(item, key), dict | list) for item in items)]
    return [
        k for k in scalars if k not in used and k.isidentifier() and any(_fits(word, k) for word in _KEPT)
    ]
