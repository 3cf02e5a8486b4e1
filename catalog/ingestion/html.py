"""Extracts text and links from HTML in titles, names and descriptions.

The input is a string that may hold markup, not a document: only HTML elements are markup, while "a < b", "<3"
and "<unknown>" are text. No input raises an error, and the run time is linear in its length.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator
from html.entities import html5 as named_characters
from typing import NamedTuple

_BLOCKS = frozenset(
    """
    address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset
    figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li main menu nav ol
    optgroup option p pre search section summary table tbody td tfoot th thead title tr ul
    """.split()
)
_INLINE = frozenset(
    """
    a abbr acronym applet area audio b base basefont bdi bdo bgsound big blink button canvas cite code col
    colgroup data datalist del dfn em embed font frame frameset i iframe img input ins kbd keygen label link
    map mark marquee math menuitem meta meter nobr noembed noframes noscript o:p object output param picture
    plaintext progress q rb rbc rp rt rtc ruby s samp script select slot small source span strike strong style
    sub sup svg template textarea time track tt u var video wbr xmp
    """.split()
)  # word processors put o:p around paragraphs
_ELEMENTS = _BLOCKS | _INLINE
_VOID = frozenset(
    """
    area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr
    """.split()
)
_UNSEEN = frozenset(("script", "style", "template"))
_ENDED_BY = {  # elements with an optional end tag → start tags that end them
    "p": _BLOCKS - {"br", "caption", "legend", "option", "optgroup", "title"},
    "li": frozenset(("li",)),
    "dt": frozenset(("dt", "dd")),
    "dd": frozenset(("dt", "dd")),
    "td": frozenset(("td", "th", "tr")),
    "th": frozenset(("td", "th", "tr")),
    "tr": frozenset(("tr",)),
    "option": frozenset(("option",)),
}

# Repetitions are possessive and quoted values are matched whole. At any "<", at most two earlier attempts can
# still be inside a quote, so the time is linear. In a tag with unbalanced quotes, quotes are ignored.
_MARKUP = re.compile(
    r"""<(?:
        !--(?:>|->|.*?(?:--!?>|\Z))
      | (?i:!doctype|\?xml)\b[^<>]*+>
      | !\[(?i:if|endif)\b[^<>]*+>
      | (?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9:]*+)(?P<attributes>(?=[\s/>])
            (?:(?:[^<>"']++|"[^"]*+"|'[^']*+')*+|[^<>]*+))>
    )""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]++)(?:\s*+=\s*+("[^"]*+"|'[^']*+'|[^\s"'<>]++))?+""", re.ASCII)
_RAW_END = {name: re.compile(rf"</{name}\b", re.ASCII | re.IGNORECASE) for name in ("script", "style")}
_NOT_DISPLAYED = re.compile(r"display\s*+:\s*+none|visibility\s*+:\s*+hidden", re.ASCII | re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#(?:[0-9]{1,8}|[xX][0-9a-fA-F]{1,6})|[a-zA-Z][a-zA-Z0-9]{1,31});")


def text_of(markup: object, between: str = " ") -> str | None:
    """Return the visible text of a string that may hold HTML.

    The encoder calls this for titles, creators, tags, genres and the strings in `meta_data`. A mapping passes
    these on unchanged, so that entities are decoded only once, and calls this only to inspect the text.

    Args:
        markup: The string; other types have no text.
        between: Separates paragraphs, lines, table cells and list items.

    Returns:
        The trimmed text with entities decoded once; white space is collapsed if there was markup. None if
        there is no text.
    """
    if not isinstance(markup, str):
        return None
    if "<" not in markup:
        return (" ".join(_decoded(markup).split()) if "&" in markup else markup.strip()) or None
    reader = _Reader()
    for token in _tokens(markup):
        reader.read(token)
    pieces = [text for piece in reader.pieces if (text := " ".join("".join(piece).split()))]
    if len(pieces) > 1 and between.strip():
        pieces = [text for piece in pieces if (text := piece.strip(" ,;"))]
    return between.join(pieces) or None


def links(markup: object) -> list[str]:
    """Return the URLs of all links in a string that may hold HTML, in order."""
    if not isinstance(markup, str) or "<" not in markup:
        return []
    found = (
        _attributes(token.attributes).get("href", "").strip()
        for token in _tokens(markup)
        if token.name == "a" and not token.is_end
    )
    return [address for address in found if address]


def first_link(markup: object) -> str | None:
    """Return the URL of the first link in a string that may hold HTML, or None."""
    return next(iter(links(markup)), None)


class _Token(NamedTuple):
    """Text and the tag or comment that follows it; the name is "" for a comment and at the end."""

    text: str
    name: str = ""
    is_end: bool = False
    attributes: str = ""


def _tokens(markup: str) -> Iterator[_Token]:
    begin = at = 0
    while match := _MARKUP.search(markup, at):
        written, attributes = match["name"], match["attributes"] or ""
        name = (written or "").lower()
        if written and name not in _ELEMENTS:
            at = match.start() + 1
            continue
        yield _Token(markup[begin : match.start()], name, bool(match["end"]), attributes)
        begin = at = match.end()
        if name in _RAW_END and not match["end"] and not attributes.endswith("/"):
            closing = _RAW_END[name].search(markup, at)
            begin = at = closing.start() if closing else len(markup)
    yield _Token(markup[begin:])


class _Reader:
    """Collects the visible text in pieces, which blocks separate."""

    def __init__(self) -> None:
        self.pieces: list[list[str]] = [[]]
        self._open: list[tuple[str, bool]] = []  # elements, and whether each hides its content
        self._names: Counter[str] = Counter()  # of the open elements
        self._hiding = 0

    def read(self, token: _Token) -> None:
        if token.text and not self._hiding:
            self.pieces[-1].append(_decoded(token.text))
        self._separate(token.name)
        if token.is_end:
            self._end(token.name)
            self._separate(token.name)
        elif token.name:
            self._begin(token.name, token.attributes)

    def _separate(self, name: str) -> None:
        if name in _BLOCKS and not self._hiding and self.pieces[-1]:
            self.pieces.append([])

    def _begin(self, name: str, attributes: str) -> None:
        while self._open and name in _ENDED_BY.get(self._open[-1][0], ()):
            self._close()
        if name in _VOID or attributes.endswith("/"):
            return
        hides = name in _UNSEEN or _hides(attributes)
        self._open.append((name, hides))
        self._names[name] += 1
        self._hiding += hides

    def _end(self, name: str) -> None:
        """Close the last element of this name and all inside it; ignore an end tag without a start tag."""
        if self._names[name]:
            while self._close() != name:
                pass

    def _close(self) -> str:
        name, hides = self._open.pop()
        self._names[name] -= 1
        self._hiding -= hides
        return name


def _hides(attributes: str) -> bool:
    """Return whether an element with these attributes is not displayed."""
    if len(attributes) < 7:  # shorter than " hidden"
        return False
    found = _attributes(attributes)
    return "hidden" in found or bool(_NOT_DISPLAYED.search(found.get("style", "")))


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(text):
        found.setdefault(name.lower(), _decoded(value[1:-1] if value[:1] in ("'", '"') else value))
    return found


def _decoded(text: str) -> str:
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    written = entity.group()
    return html.unescape(written) if written[1] == "#" else named_characters.get(written[1:], written)
