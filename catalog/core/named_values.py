"""Find values by their names in text that others have written: an error that quotes a request, or its answer.

Recognized are settings and queries (`name=value`), JSON and what Python and PHP print of dictionaries (also
escaped, as in JSON in JSON, HTML or a URL), pairs, objects with a name and a value, headers, XML, and
sentences, such as `the API key 1a2b3c4d is not valid`. What quotes or brackets hold ends with them; the end
of a value that was cut off is the end of the text. Prose has colons and spaces, too: what follows them
without quotes is a value only if it is not ordinary; see `is_ordinary`. The time is linear in the length of
the text.
"""

import re
from collections.abc import Callable, Iterator

from catalog.core.redaction import Span

_QUOTES = r"""["']|&quot;|&\#0*(?:34|39);|&\#x(?:22|27);|&apos;|%22|%27"""
_SPACE = r"(?:\s|\+|%20|%0a|\\n)*+"
_ESCAPES = r"(?:\\|%5c)*+"
_QUOTED = rf"{_ESCAPES}(?:{_QUOTES})"  # a quote, which may be escaped
_QUOTE = re.compile(rf"[bru]{{0,2}}(?P<whole>(?P<escapes>{_ESCAPES})(?P<mark>{_QUOTES}))", re.IGNORECASE)
_BRACKETS = {"{": "}", "[": "]", "(": ")"}
_STRUCTURE = re.compile(rf"[{{}}\[\]()]|{_QUOTE.pattern}", re.IGNORECASE)
_BARE = re.compile(r"[^\s,;&<>\])}]++")
_WORDS = re.compile(r"\S++")
_CONTINUED = re.compile(r"""[^\s,;)\]}>&"]""")  # after a closing quote: it was none
_PLACEHOLDER = re.compile(r"[.…*`,;)]*+")  # as in the example of a conf
_DEEPEST = 20  # brackets in brackets
_NO_VALUE = frozenset(("null", "none", "true", "false", "nil"))
_WORD = r"(?<![\w.$-])(?P<name>[\w.$-]++)"

# Not `::`, a cast of SQL; `=` only as in `headers["name"] = …`, because SQL compares quoted texts.
_QUOTED_NAME = re.compile(
    rf"{_WORD}{_QUOTED}(?:\]{_SPACE}=>?|{_SPACE}(?::(?!:)|=>|%3a)){_SPACE}(?:string\(\d+\) )?", re.IGNORECASE
)
_COLON = rf"{_SPACE}(?::|%3a){_SPACE}"
_NAME_AND_VALUE = re.compile(
    rf"(?:{_QUOTES})(?:name|key){_QUOTED}{_COLON}{_QUOTED}(?P<name>[\w.$-]++){_QUOTED}"
    rf"{_SPACE}(?:,|%2c){_SPACE}{_QUOTED}value{_QUOTED}{_COLON}",
    re.IGNORECASE,
)
_IN_BRACKETS = re.compile(r"\[(?P<name>[\w.$-]++)\] => ")
_PAIR = re.compile(
    rf"[(\[]{_SPACE}[bu]?{_QUOTED}(?P<name>[\w.$-]++){_QUOTED}{_SPACE},{_SPACE}(?=[bu]?{_QUOTED})",
    re.IGNORECASE,
)
_PAIR_END = re.compile(rf"{_ESCAPES}(?:{_QUOTES}|$){_SPACE}(?:[)\]]|$)", re.IGNORECASE)
_SETTING = re.compile(rf"{_WORD}(?:=|%(?:25)*3d)", re.IGNORECASE)
_SPACED = re.compile(rf"{_WORD}(?:[ \t]++=[ \t]*+|=[ \t]++)")
_HEADER = re.compile(r"(?<![\w-])(?P<name>[a-z][\w-]*+)[ \t]*+:[ \t]*+", re.IGNORECASE)
_ELEMENT = re.compile(r"<(?:\w++:)?(?P<name>[\w.-]++)(?:\s[^<>]*+)?(?<!/)>(?P<value>[^<>]++)")
_SPOKEN = re.compile(
    r"\b(?P<name>(?:api|access|secret|private|client)[ -]key|(?:access|api|auth|session)[ -]token"
    r"|password|passwd)[ \t]++(?:(?:is|was)[ \t]++)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(?:Bearer|Basic)\s++(?P<value>[^\s,;\"'\\]++)", re.IGNORECASE)
# After `Authorization:`, the scheme, which stays, and a text or parameters.
_LOGIN_SCHEME = re.compile(r"(?:AWS4-HMAC-SHA256|[A-Za-z-]++)[ \t]++")
_PARAMETER = r"""\w++=(?:"[^"]*+"|[^\s,"']++)"""
_PARAMETERS = re.compile(rf"{_PARAMETER}(?:,[ \t]*+{_PARAMETER})*+")
_COOKIES = re.compile(r"""[^\s;"'=]++=[^\s;']*+(?:;[ \t]*+[^\s;"']++)*+""")
_PASSWORD = re.compile(r"(?:password|passwd|pwd|secret)$", re.IGNORECASE)
_SHORTEST, _LONGEST = 6, 200  # characters: a shorter text is no secret, a longer one is not looked at
_PIECE = re.compile(r"[A-Za-z0-9]++")
# `title`, `Title`, `TITLE`, `s3`, `AccessDenied`, 2024, and the end of a time
_PLAIN = re.compile(
    r"[A-Z]?[a-z]{1,15}|[A-Z]{1,15}|(?:[A-Z][a-z]{2,15})+|[0-9]{1,7}"
    r"|[A-Za-z0-9]{1,2}|[0-9]+T[0-9]+|[0-9]+Z"
)


def is_ordinary(text: str) -> bool:
    """Return whether a text is short, or consists of words and small numbers only, as secrets hardly do.

    >>> [text for text in ("missing", "size_1024", "s3://b/1.tsv", "AccessDenied") if not is_ordinary(text)]
    []
    >>> [text for text in ("abcdef123", "12345678", "dXNlcjpwYXNz") if is_ordinary(text)]
    []
    """
    if len(text) > _LONGEST:
        return False
    return len(text) < _SHORTEST or all(_PLAIN.fullmatch(piece) for piece in _PIECE.findall(text))


def named_values(text: str, is_wanted: Callable[[str], bool]) -> Iterator[Span]:
    """Yield the spans of values, in no order; they may overlap.

    Args:
        text: The text.
        is_wanted: Tells by a name whether its value is wanted.
    """
    for pattern, value in (
        (_QUOTED_NAME, _value),
        (_NAME_AND_VALUE, _value),
        (_IN_BRACKETS, _bare),
        (_PAIR, _pair),
        (_SETTING, _setting),
        (_SPACED, _spaced),
        (_HEADER, _header),
        (_ELEMENT, _element),
        (_SPOKEN, _spoken),
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
    yield from (match.span("value") for match in _SCHEME.finditer(text) if not is_ordinary(match["value"]))


def _value(text: str, match: re.Match[str]) -> Span | None:
    """Return the span of a value as JSON and Python write them; None if there is none to hide.

    What is called just `key` is often that of a group or a mapping.
    """
    start, is_key = match.end(), match["name"].lower() == "key"
    if quote := _QUOTE.match(text, start):
        span = quote.end(), _closing(text, quote)
        return None if is_key and is_ordinary(text[slice(*span)]) else span
    if text[start : start + 1] in _BRACKETS:
        return None if is_key else (start, _matching(text, start) or len(text))
    bare = _BARE.match(text, start)
    if not bare or bare[0].lower() in _NO_VALUE or (is_key and is_ordinary(bare[0])):
        return None
    # A number is a value, a word is prose: "unknown name 'token': expected 'page'".
    return bare.span() if not is_ordinary(bare[0]) or re.search(r"\d", bare[0]) else None


def _bare(text: str, match: re.Match[str]) -> Span | None:
    bare = _BARE.match(text, match.end())
    return bare.span() if bare else None


def _pair(text: str, match: re.Match[str]) -> Span | None:
    """Return the second of two values; None if there are more, as in a list of names."""
    found = _value(text, match)
    return found if found and _PAIR_END.match(text, found[1]) else None


def _setting(text: str, match: re.Match[str]) -> Span | None:
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
        # A bracket that is not closed may be one of prose, unless a quoted text follows.
        to_the_end = len(text) if _QUOTE.match(text, start + 1) else end
        return start, max(end, _matching(text, start) or to_the_end)
    if match["name"].lower().endswith("authorization"):
        return _login(text, start) or (start, end)
    return None if words and words[0].rstrip(",;)") in ("None", "null") else (start, end)


def _spaced(text: str, match: re.Match[str]) -> Span | None:
    """Return the span of a value after ` = `, with which SQL compares."""
    quote, bare = _QUOTE.match(text, match.end()), _BARE.match(text, match.end())
    found = (quote.end(), _closing(text, quote)) if quote else bare.span() if bare else None
    if found and not _PASSWORD.search(match["name"]) and is_ordinary(text[slice(*found)]):
        return None
    return found


def _header(text: str, match: re.Match[str]) -> Span | None:
    """Return the span of a value after a colon: a login, cookies, or a word that is not ordinary."""
    name, start = match["name"].lower(), match.end()
    if name.endswith("authorization"):
        found = _login(text, start)
    elif name.endswith("cookie") and (cookies := _COOKIES.match(text, start)):
        found = cookies.span()
    else:
        found = _unusual(text, start)
    quote = text[match.start() - 1] if match.start() else ""
    if found and quote in ('"', "'") and (end := text.find(quote, found[0])) > 0:
        return found[0], end
    return found


def _login(text: str, start: int) -> Span | None:
    if scheme := _LOGIN_SCHEME.match(text, start):
        start = scheme.end()
    parameters = _PARAMETERS.match(text, start)
    return parameters.span() if parameters else _unusual(text, start)


def _unusual(text: str, start: int) -> Span | None:
    """Return the span of a word unless it is ordinary."""
    word = _WORDS.match(text, start)
    return word.span() if word and (_PLACEHOLDER.fullmatch(word[0]) or not is_ordinary(word[0])) else None


def _spoken(text: str, match: re.Match[str]) -> Span | None:
    """Return the span of the next word of a sentence, without its quotes, unless it is ordinary."""
    if quote := _QUOTE.match(text, match.end()):
        span = quote.end(), _closing(text, quote)
        return None if is_ordinary(text[slice(*span)]) else span
    return _unusual(text, match.end())


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


def _matching(text: str, start: int) -> int | None:
    """Return the end of what begins with a bracket; None if it is not closed, or has too many in it.

    Brackets in quotes do not count.
    """
    depth, at = 0, start
    while found := _STRUCTURE.search(text, at):
        at = found.end()
        if found["whole"]:
            at = min(_closing(text, found) + len(found["whole"]), len(text))
        elif found[0] in _BRACKETS:
            depth += 1
            if depth > _DEEPEST:
                return None
        else:
            depth -= 1
            if not depth:
                return at
    return None
