r"""Remove secrets from text, including encoded forms that servers, proxies and libraries return.

Text and secret are decoded before they are compared, so each character may be escaped in its own way and to
several levels: percent-encoded (`%2f`, `%252F`, `%u002f`), as in JSON and JavaScript (`\/`, `\u002f`,
`\x2f`), or as in HTML (`&sol;`, `&#47;`, `&#x2F;`). In base64 a secret has three forms, depending on its
offset in the encoded bytes; all three are searched. Truncated secrets are removed, too. The run time is
linear in the length of the text, whatever the text and the secrets are.
"""

import html
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

MASK = "***"
Span = tuple[int, int]
_LEVELS = 8  # of nested escapes
_MIN_BASE64 = 8  # characters; shorter sequences occur in text by chance
# A secret of at least 12 characters is found by its first 8, in case it was cut off.
_PREFIX, _MIN_LENGTH = 8, 12
_ALIKE = str.maketrans("+-_", "  /")  # a space in a query; the URL-safe alphabet of base64

_ESCAPE = re.compile(
    r"""
    (?P<utf8> % [0-7][0-9a-f] | % [c-f][0-9a-f] (?: % [89ab][0-9a-f] ){1,3} )
    | (?: (?<!\\)\\++ | % ) u (?P<high> d[89ab][0-9a-f]{2} ) (?: \\++ | % ) u (?P<low> d[c-f][0-9a-f]{2} )
    | (?: (?<!\\)\\++ | % ) u (?P<unit> [0-9a-f]{4} )
    | (?<!\\)\\++ (?: x (?P<byte> [0-9a-f]{2} ) | (?P<character> [^\\] ) )
    | (?P<entity> & (?: \# [0-9]{1,8} | \# x [0-9a-f]{1,8} | [a-z][a-z0-9]{1,31} ) ; )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII | re.DOTALL,
)


def forms(secret: str) -> set[str]:
    """Return the strings to search for in decoded text: the secret and its unambiguous base64 digits."""
    # In the text, a backslash at the end would escape what follows.
    found = {_decoded(secret)[0].translate(_ALIKE).rstrip("\\")}
    data = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        text = b64encode(bytes(offset) + data).decode("ascii")
        first, end = (8 * offset + 5) // 6, 8 * (offset + len(data)) // 6
        if end - first >= _MIN_BASE64:
            found.add(text[first:end].translate(_ALIKE))
    return found - {""}


def mask(text: str, wanted: Collection[str], *, cut: bool = True, whole: bool = False) -> str:
    """Replace each occurrence of the given forms by `MASK`.

    Args:
        text: The text.
        wanted: The forms of secrets.
        cut: Replace their beginnings, too.
        whole: Replace them only where no letter or digit is beside them.
    """
    plain, starts = _decoded(text)
    plain = plain.translate(_ALIKE)
    return mask_spans(
        text,
        (
            _original(span, starts, len(text))
            for form in wanted
            for span in _spans(plain, starts, form, cut, whole)
        ),
    )


def mask_decoded(text: str, find: Callable[[str], Iterable[Span]]) -> str:
    """Replace what is found in the decoded text by `MASK`, in the text as it is written.

    A text without escapes stays as it is.

    Args:
        text: The text.
        find: Returns the spans of the secrets of a text without escapes.
    """
    plain, starts = _decoded(text)
    if plain == text:
        return text
    return mask_spans(text, (_original(span, starts, len(text)) for span in find(plain)))


def mask_spans(text: str, spans: Iterable[Span]) -> str:
    """Replace spans of a text by `MASK`. They may overlap; empty ones are left out."""
    kept, at = [], 0
    for start, end in sorted(spans):
        if start >= at and end > start:
            kept += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*kept, text[at:]])


def _decoded(text: str) -> tuple[str, Sequence[int]]:
    """Decode all escapes; return the result and the offset of each of its characters in `text`."""
    starts: Sequence[int] = range(len(text))
    for _ in range(_LEVELS):
        pieces: list[str] = []
        origins: list[int] = []
        at = 0
        for match in _ESCAPE.finditer(text):
            begin = match.start()
            characters = _decode(match)
            pieces += [text[at:begin], characters]
            origins += [*starts[at:begin], *[starts[begin]] * len(characters)]
            at = match.end()
        if not at:
            break
        text, starts = "".join([*pieces, text[at:]]), [*origins, *starts[at:]]
    return text, starts


def _decode(match: re.Match[str]) -> str:
    kind, token = match.lastgroup, match.group()
    if kind == "utf8":
        return bytes.fromhex(token.replace("%", "")).decode("utf-8", "replace")
    if kind == "low":
        pair = bytes.fromhex(match["high"] + match["low"])
        return pair.decode("utf-16-be")
    if kind in ("unit", "byte"):
        return chr(int(match[kind], 16))
    return html.unescape(token) if kind == "entity" else match["character"]


def _original(span: Span, starts: Sequence[int], length: int) -> Span:
    """Return the span in the original text, whose length is given; escapes are not split."""
    start, end = span
    while start < end < len(starts) and starts[end] == starts[end - 1]:
        end += 1
    return starts[start] if start < len(starts) else length, starts[end] if end < len(starts) else length


def _spans(plain: str, starts: Sequence[int], form: str, cut: bool, whole: bool) -> Iterator[Span]:
    """Yield the spans of a form, or of its beginning; escapes are not split."""
    head = form[:_PREFIX] if cut and len(form) >= _MIN_LENGTH else form
    start = plain.find(head)
    while start >= 0:
        end = start + _common_length(plain, start, form)
        while end < len(starts) and starts[end] == starts[end - 1]:
            end += 1
        beside = plain[max(start - 1, 0) : start] + plain[end : end + 1]
        if not (whole and any(map(str.isalnum, beside))):
            yield start, end
        start = plain.find(head, start + 1)


def _common_length(plain: str, begin: int, form: str) -> int:
    """Return how many characters of `form` the text repeats from `begin` on."""
    for number, (wanted, character) in enumerate(zip(form, plain[begin : begin + len(form)], strict=False)):
        if wanted != character:
            return number
    return min(len(form), len(plain) - begin)
