r"""Takes secrets out of a text, also where servers, proxies and libraries repeat them in another form.

A text and a secret are compared as what they decode to, so each character may be escaped in its own way and
to several levels: percent-encoded (`%2f`, `%252F`, `%u002f`), as in JSON and JavaScript (`\/`, `\u002f`,
`\x2f`), as in HTML (`&sol;`, `&#47;`, `&#x2F;`). In base64 a secret reads in three ways, by where it begins
in what was encoded; all three are looked for. What is left of a secret that somebody cut off goes, too. The
time this takes grows with the length of the text, whatever the text and the secrets are.
"""

import html
import re
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence

MASK = "***"
_LEVELS = 8  # of escapes within escapes
_MIN_BASE64 = 8  # characters; fewer are in many a text by chance
_BEGINNING, _LONG = 8, 12  # characters of a secret that was cut off, and of one to be found by its beginning
_ALIKE = str.maketrans("+-_", "  /")  # a space in a query; the digits of base64 in addresses

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
    """What to look for in a decoded text: the secret, and the base64 characters that it alone decides."""
    found = {decoded(secret)[0].rstrip("\\")}  # a backslash at its end goes where more text follows it
    data = secret.encode("utf-8", "surrogatepass")
    for offset in range(3):
        text = b64encode(bytes(offset) + data).decode("ascii")
        first, end = (8 * offset + 5) // 6, 8 * (offset + len(data)) // 6
        if end - first >= _MIN_BASE64:
            found.add(text[first:end].translate(_ALIKE))
    return found - {""}


def without(text: str, wanted: Collection[str]) -> str:
    """The text with each occurrence of the wanted forms replaced by `MASK`."""
    plain, starts = decoded(text)
    kept, at = [], 0
    for start, end in sorted(span for form in wanted for span in _spans(plain, starts, len(text), form)):
        if start >= at:
            kept += [text[at:start], MASK]
        at = max(at, end)
    return "".join([*kept, text[at:]])


def decoded(text: str) -> tuple[str, Sequence[int]]:
    """The text with all escapes decoded, and where each of its characters begins in the given text."""
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
    return text.translate(_ALIKE), starts


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


def _spans(plain: str, starts: Sequence[int], length: int, form: str) -> Iterator[tuple[int, int]]:
    """Yield where a form, or the beginning of one, is in the decoded text, in whole escapes."""
    head = form[:_BEGINNING] if len(form) >= _LONG else form
    found = plain.find(head)
    while found >= 0:
        end = found + _agreement(plain, found, form)
        while end < len(starts) and starts[end] == starts[end - 1]:
            end += 1
        yield starts[found], starts[end] if end < len(starts) else length
        found = plain.find(head, found + 1)


def _agreement(plain: str, begin: int, form: str) -> int:
    """How many characters of a form a text has from there on."""
    for number, (wanted, character) in enumerate(zip(form, plain[begin : begin + len(form)], strict=False)):
        if wanted != character:
            return number
    return min(len(form), len(plain) - begin)
