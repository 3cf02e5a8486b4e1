"""Makes up values for the responses of a real API: structure and kinds of values stay, content does not.

A value is replaced by one of the same kind, and equal values by equal ones, so that identifiers within URLs
still match. These are kept, because a mapping depends on them, and because they are the same for all APIs:
null, booleans, license URLs and names, file extensions and MIME types, units, and the words of `KEPT`. Keys
are kept where they name a field, see `MadeUp`.
"""

import html
import mimetypes
import random
import re
import string
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import count
from urllib.parse import urlsplit

from catalog.core.jsontypes import Json, JsonObject
from catalog.core.licenses import NOT_APPLICABLE, PATH_BY_PAIR, license_from_name, license_from_url
from catalog.ingestion.filetypes import EXTENSIONS

MAX_TEXT = 300  # characters
MAX_LIST = 3  # elements of a list within an item
KEPT = frozenset(
    "image images photo photograph picture illustration audio sound music song track video text".split()
)
_EXTENSIONS = frozenset().union(*EXTENSIONS.values())
_MIME_TYPES = frozenset(mimetypes.MimeTypes().types_map[True].values()) | {
    f"{medium}/{name}" for medium, known in EXTENSIONS.items() for name in known
}
# What a file is among several of the same work.
_RENDITIONS = frozenset("thumb thumbnail preview small medium large full original master web screen".split())
_NAMES = KEPT | _EXTENSIONS | _MIME_TYPES | _RENDITIONS
_SLUGS = "|".join(dict.fromkeys(re.escape(slug).replace(r"\-", "[ -]") for slug, _ in PATH_BY_PAIR))
_VERSIONS = "|".join(dict.fromkeys(re.escape(v) for _, v in PATH_BY_PAIR if v != NOT_APPLICABLE))
_LICENSE = re.compile(
    rf"(?:(?:cc[ -]?)?(?:{_SLUGS}|pd|public[ -]domain)|cc[ -]?(?:zero|0))(?:[ -]?(?:{_VERSIONS}))?",
    re.IGNORECASE | re.ASCII,
)
_TAGS = frozenset("a b br div em h1 h2 h3 i li ol p span strong sub sup u ul".split())

# Letters of all scripts with their marks, emoji, and whatever else is neither ASCII nor punctuation.
_OTHER = "\xa1-\u1fff\u2070-\u2fff\u3004-\U0010ffff"
_LETTER = f"[a-z{_OTHER}]"
_URL = r"(?:https?:)?//[^\s\"'<>]+"
# Letters and digits together, such as an identifier or a hash; a number; a word.
_CODE = rf"(?=[a-z{_OTHER}]*\d)(?=\d*{_LETTER})[0-9a-z{_OTHER}]{{4,}}"
_ATOM = re.compile(rf"(?P<code>{_CODE})|(?P<number>\d+)|(?P<word>{_LETTER}+)", re.IGNORECASE | re.ASCII)
_WORD = re.compile(f"{_LETTER}+", re.IGNORECASE | re.ASCII)
# Escapes of characters that are markup; others stand for content.
_MARKUP = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|#0*(?:34|38|39|60|62|160)|#x0*(?:22|26|27|3c|3e|a0));", re.IGNORECASE
)
_ENTITY = re.compile(
    rf"(?!{_MARKUP.pattern})&(?:#\d{{1,7}}|#x[0-9a-f]{{1,6}}|[a-z][a-z0-9]*);", re.IGNORECASE | re.ASCII
)
_UNIT = rf"(?:[kmgt]i?b|bytes|px|[kmgt]?bit/s|kbps|k?hz)(?![0-9a-z{_OTHER}])"
# What is replaced within a text, the first alternative that fits.
_PIECES = re.compile(
    rf"(?P<url>{_URL})|(?P<markup>{_MARKUP.pattern})|(?P<tag></?[a-z][a-z0-9]*)"
    rf"|(?P<size>(?<![0-9a-z{_OTHER}])\d+\s*(?:px)?\s*[x*\xd7]\s*\d+\s*(?:px|pixels)?(?![0-9a-z{_OTHER}]))"
    r"|(?P<date>[12]\d{3}-[01]\d-[0-3]\d)|(?P<clock>(?<!\d)\d{1,2}(?::[0-5]\d){1,2}(?:\.\d+)?(?!\d))"
    rf"|(?P<of_time>(?<=\d)T(?=\d\d:)|(?<=\d)Z(?!{_LETTER}))"
    rf"|(?P<extension>(?<=\S\.)(?:{'|'.join(_EXTENSIONS)})(?![0-9a-z{_OTHER}]))"
    rf"|(?P<measure>\d+(?={_UNIT}))|(?P<unit>(?:(?<=\d)|(?<=\d\s)){_UNIT})"
    rf"|{_ATOM.pattern}",
    re.IGNORECASE | re.ASCII,
)
_SYLLABLES = (
    "ba be bo da de do fa fe fo ga ge go ka ke ko la le lo ma me mo na ne no pa pe po ra re ro".split()
)
# The name of a field: `title`, `imageUrl`, `url_o`, `og:image`, `@odata.count`, `width_2`, `h264`; not `Q42`.
_PART = r"(?!(?-i:[A-Z])\d{2})[a-z]+\d{0,3}"
_NAME = re.compile(rf"(?:@[a-z]+\.|[@$_#])?{_PART}(?:[_:-](?:{_PART}|\d))*_?", re.IGNORECASE | re.ASCII)
# Words of which the names of fields consist, in the singular.
_FIELD_WORDS = frozenset(
    """
    id identifier uuid guid nr no number num count total match matched found kind amount quantity
    sum average score rating rank size
    name title label caption headline slug key code type kind class category status state message error
    url uri href src link self next prev previous current first last page per limit offset start end from to
    max min
    width height length depth duration w h x y z lat lon lng latitude longitude altitude bound box
    date time year month day created updated modified published added uploaded version format mime
    file image photo picture media thumbnail thumb small medium large full original preview icon
    text description summary body html value language lang license rights copyright tag keyword subject
    item result record data meta metadata info response header hit list object entry work document
    took timed out successful skipped failed valid api request query param sort order facet aggregation bucket
    view download like favorite comment play share creator author artist photographer user owner maker
    collection department place period material technique genre color source provider institution
    """.split()
)
_LONGEST_NAME = 40  # characters

Path = tuple[str, ...]  # the keys to a value; EACH stands for any element of a list
EACH = "*"


class MadeUp:
    """Makes up the values of one recording.

    Keys can be data, too: `{"Ada": {…}, "Bob": {…}}`. A key is kept if half of the objects in the same place
    of the items have it, and at least two, or if a path that the provider reads leads through it. Other keys
    are kept if they look like the name of a field, unless their object seems to be an index: it has no key of
    the first kind, and either there are several objects in its place, or one of its keys does not look like a
    name, or its values all have the same structure and its keys are other words than those of `_FIELD_WORDS`.
    """

    def __init__(
        self,
        documents: Iterable[Json],
        seed: int | None = None,
        read: Collection[Path] = (),
        keep: Collection[Path] = (),
        longest: int = MAX_LIST,
    ) -> None:
        """Read all words that must not appear, and which keys are data.

        Args:
            documents: The real responses.
            seed: Makes the values reproducible.
            read: Paths whose keys are kept.
            keep: Paths whose values are kept, such as the version of a license.
            longest: Number of elements of a list that are read.
        """
        self._longest = max(longest, MAX_LIST)
        self._keep = frozenset(keep)
        self._random = random.Random(seed)  # noqa: S311 - nothing depends on their being unpredictable
        documents = list(documents)
        self._read = {path[:length] for path in read for length in range(1, len(path) + 1)}
        self._objects: Counter[Path] = Counter()
        self._fields: Counter[Path] = Counter()
        for path, found in (pair for document in documents for pair in _objects(document, ())):
            # What is beside the items is the same on each page, so that its keys recur even if they are data.
            if found and (EACH in path or path not in self._objects):
                self._objects[path] += 1
                self._fields.update((*path, key) for key in found)
        self._taken = {atom for text in _strings(documents) for atom in _atoms(text)}
        self._words: dict[str, str] = {}
        self._dates: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        self._digits: dict[str, str] = {}
        self._codes: dict[str, str] = {}
        self._used: set[str] = set()

    def value(self, original: Json, path: Path = ()) -> Json:
        """Return a made-up value with the structure of a real one; lists are shortened.

        Args:
            original: The real value.
            path: Where it stands in the response.
        """
        if original is None or isinstance(original, bool) or path in self._keep:
            return original
        if isinstance(original, dict):
            return self._object(original, path)
        if isinstance(original, list):
            return [self.value(value, (*path, EACH)) for value in original[: self._longest]]
        if isinstance(original, int):
            digits = str(abs(original))[: 18 if original < 0 else 19]  # more may not fit into 64 bits
            return int(self._number(digits)) * (-1 if original < 0 else 1)
        if isinstance(original, float):
            whole, _, rest = f"{abs(original):f}".partition(".")
            number = float(f"{self._number(whole)}.{self._number(rest.rstrip('0') or '0')}")
            number = min(number, sys.float_info.max)
            return -number if original < 0 else number
        return self.text(str(original))

    def text(self, original: str) -> str:
        """Return a made-up text of the same kind and length."""
        if is_structural(original.strip()):
            return original
        replace: dict[str, Callable[[str], str]] = {
            "url": self._url,
            "tag": _tag,
            "markup": str,
            "of_time": str,
            "extension": str,
            "unit": str,
            "measure": self._number,
            "size": lambda size: re.sub(r"\d+", lambda m: self._number(m.group()), size),
            "date": self._date,
            "clock": self._clock,
            **self._tokens(),
        }
        # A letter that is written as an entity belongs to its word.
        return _PIECES.sub(lambda m: replace[str(m.lastgroup)](m.group()), _unescaped(original)[:MAX_TEXT])

    def _tokens(self) -> dict[str, Callable[[str], str]]:
        return {"code": self._code, "number": self._number, "word": self._word}

    def _object(self, found: JsonObject, path: Path) -> JsonObject:
        kept = self._kept(found, path)
        made: JsonObject = {}
        for key, value in found.items():
            name = key if key in kept else self._number(key) if key.isdecimal() else self.text(key)
            while name in made or (name in kept and name != key):
                name += "_"
            made[name] = self.value(value, (*path, key))
        return made

    def _kept(self, original: JsonObject, path: Path) -> set[str]:
        """Return the keys of an object that name fields."""
        read = {key for key in original if (*path, key) in self._read}
        half = max(2, self._objects[path] / 2)
        known = read | {key for key in original if self._fields[*path, key] >= half}
        named = {key for key in original.keys() - known if len(key) <= _LONGEST_NAME and _NAME.fullmatch(key)}
        if not known and self._is_index(original, path, named):
            return set()
        return known | named

    def _is_index(self, original: JsonObject, path: Path, named: set[str]) -> bool:
        """Return whether the keys of an object are data, although they may look like names."""
        if self._objects[path] > 1 or len(named) < len(original):
            return True
        kinds = {_kind(value) for value in original.values()}
        if len(kinds) != 1:
            return False
        fields = [_is_field(key) for key in original]
        # Numbers and objects are what an index holds; an object of texts is a record if one key is a field.
        return not (any(fields) if kinds & {"str", "NoneType", "list"} else all(fields))

    def _code(self, code: str) -> str:
        """Return as many letters and digits in the same places; different codes stay different."""
        while code not in self._codes:
            made = "".join(self._random.choice(_others(c)) for c in code)
            if made not in self._taken and made not in self._codes.values():
                self._codes[code] = made.upper() if code.isupper() else made
        return self._codes[code]

    def _word(self, word: str) -> str:
        folded = word.casefold()
        if folded in KEPT:
            return word
        if folded not in self._words:
            self._words[folded] = self._new(len(word))
        made = self._words[folded]
        return made.upper() if word.isupper() else made.capitalize() if word[0].isupper() else made

    def _new(self, length: int) -> str:
        """Return a word that no document holds and that stands for no other word."""
        for attempt in count():
            size = length + attempt // 50  # longer if the words of this length are used up
            made = "".join(self._random.choices(_SYLLABLES, k=size // 2 + 1))[:size]
            if made not in self._taken and made not in self._used:
                break
        self._used.add(made)
        return made

    def _number(self, digits: str) -> str:
        """Return another number of as many digits; different ones stay different, and 0 stays 0."""
        plain = digits.lstrip("0")
        if not plain:
            return digits
        if len(plain) > 19:
            return self._digits.setdefault(digits, self._any(digits))
        low = 10 ** (len(plain) - 1)
        span = 9 * low
        # A permutation of the numbers with as many digits: 7,927 has no divisor in common with 9 · 10ⁿ. None
        # stays as it is: 7,926, unlike what is added, is a multiple of 3.
        made = low + ((int(plain) - low) * 7_927 + 31 + span // 3) % span
        return f"{made}".rjust(len(digits), "0")

    def _any(self, digits: str) -> str:
        return "9" + "".join(self._random.choices("0123456789", k=len(digits) - 1))

    def _date(self, date: str) -> str:
        while date not in self._dates or self._dates[date] == date:
            year, month, day = (self._random.randint(*span) for span in ((2001, 2024), (1, 12), (1, 28)))
            self._dates[date] = f"{year}-{month:02}-{day:02}"
        return self._dates[date]

    def _clock(self, clock: str) -> str:
        clock, point, fraction = clock.partition(".")
        first, *rest = clock.split(":")
        hour = self._random.choice(string.digits[1:].replace(first[-1], "")).rjust(len(first), "0")
        made = ":".join([hour, *(f"{self._random.randint(1, 59):02}" for _ in rest)])
        return made + point + (self._number(fraction) if point else "")

    def _url(self, url: str) -> str:
        if (license_ := license_from_url(url)) is not None:
            return license_.url
        try:
            parts = urlsplit(url)
        except ValueError:
            return "https://www.example.org/"
        host = self._hosts.setdefault(parts.netloc.lower(), f"site{len(self._hosts) + 1}.example.org")
        path = "/".join(self._segment(segment) for segment in parts.path.split("/"))
        query = "&".join(
            "=".join(self._segment(side) for side in pair.split("=")) for pair in parts.query.split("&")
        )
        return f"{parts.scheme + ':' if parts.scheme else ''}//{host}{path}" + (f"?{query}" if query else "")

    def _segment(self, segment: str) -> str:
        stem, dot, extension = segment.rpartition(".")
        if dot and extension.lower() in _EXTENSIONS:
            return f"{self._segment(stem)}.{extension}"
        tokens = self._tokens()
        plain = re.sub("%[0-9a-fA-F]{2}", "-", segment)
        return _ATOM.sub(lambda m: tokens[str(m.lastgroup)](m.group()), plain)


def is_structural(text: str) -> bool:
    """Return whether a text is the name of a file type, a medium, a license, or a kind of file."""
    if text.lower() in _NAMES or _LICENSE.fullmatch(text):
        return True
    return text.isascii() and license_from_name(text, "4.0") is not None


def _tag(tag: str) -> str:
    if tag.strip("</").lower() in _TAGS:
        return tag
    return "</b" if tag.startswith("</") else "<b"


def _others(character: str) -> str:
    """Return the digits or letters that may stand for one of them."""
    return (string.digits if character in string.digits else string.ascii_lowercase).replace(
        character.lower(), ""
    )


def _is_field(key: str) -> bool:
    """Return whether a key consists of words that name fields."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", key)
    return bool(parts) and all(
        not _FIELD_WORDS.isdisjoint(
            (word, word.removesuffix("s"), re.sub("ies$", "y", word), word.removesuffix("es"))
        )
        for word in map(str.lower, parts)
    )


def _kind(value: Json) -> str:
    """Describe the structure of a value."""
    return f"{sorted(value)}" if isinstance(value, dict) else type(value).__name__


def _unescaped(text: str) -> str:
    """Replace the entities that stand for content by their characters."""
    return _ENTITY.sub(lambda m: html.unescape(m.group()), text)


def words(text: str) -> set[str]:
    """Return the words of a text in lower case."""
    return {word.casefold() for word in _WORD.findall(_MARKUP.sub(" ", _unescaped(text)))}


def _atoms(text: str) -> set[str]:
    """Return the words and codes of a text in lower case."""
    return words(text) | {match.group().casefold() for match in _ATOM.finditer(_unescaped(text))}


def _strings(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(below)


def _objects(value: Json, path: Path) -> Iterator[tuple[Path, JsonObject]]:
    """Yield all objects and where they stand."""
    if isinstance(value, dict):
        yield path, value
        for key, below in value.items():
            yield from _objects(below, (*path, key))
    elif isinstance(value, list):
        for below in value:
            yield from _objects(below, (*path, EACH))
