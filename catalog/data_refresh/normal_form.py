"""One form for texts that are compared: what looks or means the same is the same characters."""

import re
import unicodedata

# Characters that are not seen: soft hyphens, joiners, direction marks, variation selectors (Unicode's Default_Ignorable_Code_Point).
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_DOTTED = re.compile("i\u0307+")  # what İ becomes


def normal_form(text: str) -> str:
    """Compatibility forms composed (NFKC), case folded, unseen characters left out; İ is i, ß is ss. Applied twice, it changes nothing."""
    if text.isascii():
        return text.lower()
    lowered = text.lower()
    if _plain(text, lowered):  # most texts with accents
        return lowered
    while True:
        folded = _UNSEEN.sub("", unicodedata.normalize("NFKC", text).casefold())
        folded = unicodedata.normalize("NFKC", _DOTTED.sub("i", folded))
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
