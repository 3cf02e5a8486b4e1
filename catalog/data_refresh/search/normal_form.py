"""Normal form of text for comparison: texts that look or mean the same become the same characters."""

import re
import unicodedata
from functools import lru_cache

# Invisible characters: soft hyphens, joiners, direction marks, variation selectors (Unicode property
# Default_Ignorable_Code_Point).
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_DOTTED = re.compile("i\u0307+")  # the lower case of İ
# Combining marks per character; no language has more (Unicode Standard Annex 15, Stream-Safe Text Format).
MARKS = 30
_SHORT = 1_000  # characters; texts up to this length are normalized quickly whatever they contain


def normal_form(text: str) -> str:
    """Return the case-folded NFKC form without ignorable characters (İ → i, ß → ss). It is idempotent.

    In a text longer than 1,000 characters, a character keeps at most MARKS combining marks, because sorting
    marks takes quadratic time.
    """
    if text.isascii():
        return text.lower()
    text = _bounded(text)
    lowered = text.lower()
    if _plain(text, lowered):  # most texts with accents
        return lowered
    while True:
        folded = _bounded(_UNSEEN.sub("", unicodedata.normalize("NFKC", text).casefold()))
        folded = _bounded(unicodedata.normalize("NFKC", _DOTTED.sub("i", folded)))
        if folded == text:
            return folded
        text = folded


def _plain(text: str, lowered: str) -> bool:
    return (
        lowered == text.casefold()
        and unicodedata.is_normalized("NFKC", text)
        and unicodedata.is_normalized("NFKC", lowered)
        and not _UNSEEN.search(lowered)
        and "\u0307" not in lowered
    )


def _bounded(text: str) -> str:
    """Limit the combining marks of each character to MARKS; ignorable characters between are not counted."""
    if len(text) <= _SHORT or text.isascii():
        return text
    kept, marks = [], 0
    for character in text:
        added = 0 if character < "\u0300" else _marks(character)
        if added:
            marks += added
        elif character < "\u0300" or not _UNSEEN.match(character):
            marks = 0
        if marks <= MARKS:
            kept.append(character)
    return "".join(kept)


@lru_cache(maxsize=10_000)
def _marks(character: str) -> int:
    """Return the number of combining marks in a character; 0 if it begins with a base character."""
    parts = unicodedata.normalize("NFKD", character)
    return len(parts) if unicodedata.combining(parts[0]) else 0
