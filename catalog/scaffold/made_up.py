"""Makes up values for the responses of a real API: structure and kinds of values stay, content does not.

A value is replaced by one of the same kind, and equal values by equal ones, so that identifiers within URLs
still match. These are kept, because a mapping depends on them: null, booleans, keys, license URLs and names,
file types, the words of `KEPT`, and words of at most two letters.
"""

import random
import re
import string
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from catalog.core.jsontypes import Json
from catalog.core.licenses import license_from_url
from catalog.ingestion.filetypes import EXTENSIONS

MAX_TEXT = 300  # characters
MAX_LIST = 3  # elements of a list within an item
KEPT = frozenset(
    "image images photo photograph picture illustration audio sound music song track video text".split()
)
_TYPES = frozenset().union(*EXTENSIONS.values())
_TAGS = frozenset("a b br div em h1 h2 h3 i li ol p span strong sub sup u ul".split())
_LICENSE = re.compile(
    r"(?:cc[ -]?)?(?:by(?:[ -](?:nc|nd|sa))*|cc?0|zero|pdm?|public domain)(?:[ -]?\d\.\d)?", re.IGNORECASE
)
_MIME = re.compile(r"(?:image|audio|video|text|application)/[a-z0-9.+-]{1,20}", re.IGNORECASE)
_URL = re.compile(r"(?:https?:)?//[^\s\"'<>]+", re.IGNORECASE)
_DATE = re.compile(r"[12]\d{3}-[01]\d-[0-3]\d")
_CLOCK = re.compile(r"(?<!\d)\d{1,2}(?::[0-5]\d){1,2}(?!\d)")
# Letters and digits together, such as an identifier or a hash; a number; a word.
_ATOM = r"(?P<code>(?=[^\W_]*\d)(?=\d*[^\W\d_])[^\W_]{4,})|(?P<number>\d+)|(?P<word>[^\W\d_]+)"
# What is replaced within a text, the first alternative that fits.
_PIECES = re.compile(
    rf"(?P<url>{_URL.pattern})|(?P<markup></?[a-z0-9]+|&[a-z]+;)|(?P<date>{_DATE.pattern})"
    rf"|(?P<clock>{_CLOCK.pattern})|{_ATOM}",
    re.IGNORECASE,
)
_SYLLABLES = (
    "ba be bo da de do fa fe fo ga ge go ka ke ko la le lo ma me mo na ne no pa pe po ra re ro".split()
)


class MadeUp:
    """Makes up the values of one recording."""

    def __init__(self, documents: Iterable[Json], seed: int | None = None) -> None:
        """Read all words that must not appear.

        Args:
            documents: The real responses.
            seed: Makes the values reproducible.
        """
        self._random = random.Random(seed)  # noqa: S311 - nothing depends on their being unpredictable
        self._taken = {word for text in _strings(list(documents)) for word in words(text)}
        self._words: dict[str, str] = {}
        self._dates: dict[str, str] = {}
        self._hosts: dict[str, str] = {}
        self._digits: dict[str, str] = {}
        self._codes: dict[str, str] = {}
        self._used: set[str] = set()

    def value(self, found: Json) -> Json:
        """Return a made-up value with the structure of a real one; lists are shortened."""
        if found is None or isinstance(found, bool):
            return found
        if isinstance(found, dict):
            return {self._key(key): self.value(value) for key, value in found.items()}
        if isinstance(found, list):
            return [self.value(value) for value in found[:MAX_LIST]]
        if isinstance(found, int):
            return int(self._number(str(found).lstrip("-"))) * (-1 if found < 0 else 1)
        if isinstance(found, float):
            whole, _, rest = f"{abs(found):f}".partition(".")
            made = float(f"{self._number(whole)}.{self._number(rest.rstrip('0') or '0')}")
            return -made if found < 0 else made
        return self.text(str(found))

    def text(self, found: str) -> str:
        """Return a made-up text of the same kind and length."""
        bare = found.strip()
        if bare.lower() in KEPT | _TYPES or _LICENSE.fullmatch(bare) or _MIME.fullmatch(bare):
            return found
        replace: dict[str, Callable[[str], str]] = {
            "url": self._url,
            "markup": lambda tag: tag if tag.strip("</").lower() in _TAGS or tag[0] == "&" else "<b",
            "date": self._date,
            "clock": self._clock,
            **self._tokens(),
        }
        return _PIECES.sub(lambda m: replace[str(m.lastgroup)](m.group()), found[:MAX_TEXT])

    def _tokens(self) -> dict[str, Callable[[str], str]]:
        return {"code": self._code, "number": self._number, "word": self._word}

    def _code(self, code: str) -> str:
        """Return as many letters and digits in the same places; different codes stay different."""
        while code not in self._codes:
            made = "".join(self._random.choice(_others(c)) for c in code)
            if made not in self._codes.values():
                self._codes[code] = made.upper() if code.isupper() else made
        return self._codes[code]

    def _key(self, key: str) -> str:
        return self._number(key) if key.isdecimal() else key  # an object that is indexed by identifiers

    def _word(self, word: str) -> str:
        folded = word.casefold()
        if len(word) <= 2 or folded in KEPT:
            return word
        if folded not in self._words:
            self._words[folded] = self._new(len(word))
        made = self._words[folded]
        return made.upper() if word.isupper() else made.capitalize() if word[0].isupper() else made

    def _new(self, length: int) -> str:
        """Return a word that no document holds and that stands for no other word, if there is one."""
        for _ in range(100):
            made = "".join(self._random.choices(_SYLLABLES, k=length // 2 + 1))[:length]
            if made not in self._taken | self._used:
                break
        self._used.add(made)
        return made

    def _number(self, digits: str) -> str:
        """Return a number of as many digits; different ones stay different."""
        plain = str(int(digits))
        if plain == "0" or len(digits) > 18:
            return "0" * len(digits) if plain == "0" else self._digits.setdefault(digits, self._any(digits))
        low = 10 ** (len(plain) - 1)
        span = 9 * low
        # A permutation of the numbers with as many digits: 7,919 has no divisor in common with 9 · 10ⁿ.
        made = low + ((int(plain) - low) * 7_919 + 31 + span // 3) % span
        return f"{made}".rjust(len(digits), "0")

    def _any(self, digits: str) -> str:
        return "9" + "".join(self._random.choices("0123456789", k=len(digits) - 1))

    def _date(self, date: str) -> str:
        if date not in self._dates:
            year, month, day = (self._random.randint(*span) for span in ((2001, 2024), (1, 12), (1, 28)))
            self._dates[date] = f"{year}-{month:02}-{day:02}"
        return self._dates[date]

    def _clock(self, clock: str) -> str:
        first, *rest = clock.split(":")
        hour = f"{self._random.randint(1, 9)}".rjust(len(first), "0")
        return ":".join([hour, *(f"{self._random.randint(1, 59):02}" for _ in rest)])

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
        if dot and extension.lower() in _TYPES:
            return f"{self._segment(stem)}.{extension}"
        tokens = self._tokens()
        plain = re.sub("%[0-9a-fA-F]{2}", "-", segment)
        return re.sub(_ATOM, lambda m: tokens[str(m.lastgroup)](m.group()), plain)


def _others(character: str) -> str:
    """Return the digits or letters that may stand for one of them."""
    return (string.digits if character.isdecimal() else string.ascii_lowercase).replace(character.lower(), "")


def words(text: str) -> set[str]:
    """Return the words of a text in lower case."""
    return {word.casefold() for word in re.findall(r"[^\W\d_]+", text)}


def _strings(value: Json) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(below)
