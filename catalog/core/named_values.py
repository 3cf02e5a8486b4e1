"""Find values by their names in text that others have written: an error that quotes a request, or its answer.

Recognized are settings and queries (`name=value`), JSON and what Python prints of dictionaries (also escaped,
as in JSON in JSON, HTML or a URL), pairs, headers and XML. What quotes or brackets hold ends with them; the
end of a value that was cut off is the end of the text. Colons occur in prose, too: a name without quotes is
one only if it looks like that of a header, or its value like a secret. The time is linear in the length of
the text.
"""

import re
from collections.abc import Callable, Iterator

Span = tuple[int, int]
_QUOTES = r"""["']|&quot;|&\#0*(?:34|39);|&\#x(?:22|27);|&apos;|%22|%27"""
_SPACE = r"(?:\s|%20|%0a|\\n)*+"
_ESCAPES = r"(?:\\|%5c)*+"
_QUOTE = re.compile(rf"[bru]{{0,2}}(?P<whole>(?P<escapes>{_ESCAPES})(?P<mark>{_QUOTES}))", re.IGNORECASE)
_BRACKETS = {"{": "}", "[": "]", "(": ")"}
_STRUCTURE = re.compile(rf"[{{}}\[\]()]|{_QUOTE.pattern}", re.IGNORECASE)
_BARE = re.compile(r"[^\s,;&<>\])}]++")
_WORDS = re.compile(r"\S++")
_CONTINUED = re.compile(r"""[^\s,;)\]}>&"]""")  # after a closing quote: it was none
_PLACEHOLDER = re.compile(r"[.…*`,;)]*+")  # as in the example of a conf
_NO_VALUE = frozenset(("null", "none", "true", "false", "nil"))
_WORD = r"(?<![\w.$-])(?P<name>[\w.$-]++)"

_QUOTED_NAME = re.compile(rf"{_WORD}{_ESCAPES}(?:{_QUOTES})\]?{_SPACE}(?::|=>?|%3a){_SPACE}", re.IGNORECASE)
_PAIR = re.compile(
    rf"[(\[]{_SPACE}[bu]?{_ESCAPES}(?:{_QUOTES})(?P<name>[\w.$-]++){_ESCAPES}(?:{_QUOTES}){_SPACE},{_SPACE}(?=[bu]?{_ESCAPES}(?:{_QUOTES}))",
    re.IGNORECASE,
)
_PAIR_END = re.compile(rf"{_ESCAPES}(?:{_QUOTES}|$){_SPACE}(?:[)\]]|$)", re.IGNORECASE)
_SETTING = re.compile(rf"{_WORD}(?:=|%(?:25)*3d)", re.IGNORECASE)
_SPACED = re.compile(rf"{_WORD}(?:[ \t]++=[ \t]*+|=[ \t]++)")
_HEADER = re.compile(r"(?<![\w-])(?P<name>[a-z][\w-]*+)[ \t]*+:[ \t]*+", re.IGNORECASE)
_ELEMENT = re.compile(r"<(?:\w++:)?(?P<name>[\w.-]++)(?:\s[^<>]*+)?(?<!/)>(?P<value>[^<>]++)")
_SCHEME = re.compile(
    r"\b(?:Bearer|Basic)\s++(?P<value>(?=\S*\d)[^\s,;\"'\\]{6,}|[^\s,;\"'\\]{20,})", re.IGNORECASE
)
_LOGIN = re.compile(
    r"""(?:[A-Z][\w-]*[ \t]+|(?:bearer|basic|digest|token|apikey|oauth)[ \t]+)?
        (?:\w+="[^"]*"|[^\s"']+)
        (?:(?:,[ \t]*|[ \t]+(?=\w+=))\w+=(?:"[^"]*"|[^\s,"']+))*""",
    re.VERBOSE,
)
_COOKIES = re.compile(r"""(?:"[^"]*"|[^\s;"'])+(?:;[ \t]*(?:"[^"]*"|[^\s;"'])+)*""")
_LIKE_A_SECRET = re.compile(r"(?=\S{0,200}?\d)\S{6,}")
_PASSWORD = re.compile(r"(?:password|passwd|pwd|secret)$", re.IGNORECASE)
_SINGLE = re.compile(r"[A-Za-z][a-z]*|[A-Z]+")  # a name of one word


def named_values(text: str, is_wanted: Callable[[str], bool]) -> Iterator[Span]:
    """Yield the spans of values, in no order; they may overlap.

    Args:
        text: The text.
        is_wanted: Tells by a name whether its value is wanted.
    """
    for pattern, value in (
        (_QUOTED_NAME, _value),
        (_PAIR, _pair),
        (_SETTING, _setting),
        (_SPACED, _spaced),
        (_HEADER, _header),
        (_ELEMENT, _element),
    ):
        at = 0
        while match := pattern.search(text, at):
            name = match["name"]
            if match.start("name") and text[match.start("name") - 1] == "%":
                name = name[2:]  # the digits of an escape
            span = value(text, match) if is_wanted(name) else None
            if span and not _PLACEHOLDER.fullmatch(text, *span):
                yield span
            at = max(span[1] if span else 0, match.end())
    yield from (match.span("value") for match in _SCHEME.finditer(text))


def _value(text: str, match: re.Match[str]) -> Span | None:
    """Return the span of a value as JSON and Python write them; None if there is none to hide."""
    start = match.end()
    if quote := _QUOTE.match(text, start):
        return quote.end(), _closing(text, quote)
    if text[start : start + 1] in _BRACKETS:
        return start, _matching(text, start)
    bare = _BARE.match(text, start)
    return bare.span() if bare and bare[0].lower() not in _NO_VALUE else None


def _pair(text: str, match: re.Match[str]) -> Span | None:
    """Return the second of two values; None if there are more, as in a list of names."""
    found = _value(text, match)
    return found if found and _PAIR_END.match(text, found[1]) else None


def _setting(text: str, match: re.Match[str]) -> Span:
    """Return the span of a value after `=`, which ends with its quotes, its brackets, or at a space.

    Only single quotes, as libpq and Python write them, surely quote it: others may be a part of it.
    """
    start = match.end()
    words = _WORDS.match(text, start)
    end = words.end() if words else start
    if quote := _QUOTE.match(text, start):
        closing = _closing(text, quote)
        if quote["whole"] == "'" and not _CONTINUED.match(text, closing + 1):
            return quote.end(), closing
        return start, max(end, closing)
    if text[start : start + 1] in _BRACKETS:
        return start, max(end, _matching(text, start))
    return start, end


def _spaced(text: str, match: re.Match[str]) -> Span | None:
    return (
        None
        if _SINGLE.fullmatch(match["name"]) and not _PASSWORD.search(match["name"])
        else _value(text, match)
    )


def _header(text: str, match: re.Match[str]) -> Span | None:
    name, start = match["name"].lower(), match.end()
    quote = text[match.start() - 1] if match.start() else ""
    is_login, is_cookie = name.endswith("authorization"), name.endswith("cookie")
    if not (is_login or is_cookie or "-" in name):
        compound = not _SINGLE.fullmatch(match["name"]) or _PASSWORD.search(name)
        found = _LIKE_A_SECRET.match(text, start) if compound else None
        return found.span() if found else None
    if quote in ('"', "'") and (end := text.find(quote, start)) > 0:
        return start, end
    found = (_LOGIN if is_login else _COOKIES if is_cookie else _WORDS).match(text, start)
    return found.span() if found else None


def _element(text: str, match: re.Match[str]) -> Span | None:
    """Return the content of an XML element; `Key` is the name of an object in S3's errors."""
    return None if match["name"] == "Key" else match.span("value")


def _closing(text: str, quote: re.Match[str]) -> int:
    """Return where the closing quote begins: the same mark with at most as many backslashes before it."""
    escapes = len(quote["escapes"].lower().replace("%5c", "\\"))
    pattern = re.compile(
        rf"(?<!\\)(?<!%5c)(?:\\|%5c){{0,{escapes}}}{re.escape(quote['mark'])}", re.IGNORECASE
    )
    found = pattern.search(text, quote.end())
    return found.start() if found else len(text)


def _matching(text: str, start: int) -> int:
    """Return the end of what begins with a bracket; brackets in quotes do not count."""
    depth, at = 0, start
    while found := _STRUCTURE.search(text, at):
        at = found.end()
        if found["whole"]:
            at = min(_closing(text, found) + len(found["whole"]), len(text))
        elif found[0] in _BRACKETS:
            depth += 1
        else:
            depth -= 1
            if not depth:
                return at
    return len(text)
