r"""Rules of titles and creators, and of characters that were written as escapes (`caf\u00e9`, `cafu00e9`)."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, LiteralString

from catalog.cleaning.rule import AGAIN, Cleaned, Rule, any_of
from catalog.ingestion.filetypes import LONGEST_EXTENSION
from catalog.ingestion.tsv import text_for

# Regular expressions of PostgreSQL for texts that `tidy` or `plain` of ingestion changes. Every Python white
# space but the plain space is listed; plain spaces matter only doubled or at the ends.
UNTIDY_CHARACTERS: LiteralString = (
    r'["\u0001-\u001f\u007f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
)
MARKUP: LiteralString = "<[a-zA-Z/!?]|&[#a-zA-Z]"
UNTIDY: LiteralString = UNTIDY_CHARACTERS + "|  |^ | $"
UNTIDY_JSON: LiteralString = (
    UNTIDY_CHARACTERS.replace('"', "") + r'|\\["bfnrtu]|  |" | "[],:}]'  # in the text of a jsonb
)
ESCAPED: LiteralString = "u[0-9a-fA-F]{4}"
_DIGITS = "[0-9a-fA-F]{4}"
_WITH_BACKSLASH = re.compile(rf"(?:\\+u{_DIGITS})+")
_BARE = re.compile(r"(?:u[0-9a-f]{4})+")
# Without a backslash, an escape may be a word and a number (menu2014). It is an escape in a run of several,
# or if its number has letters, as that of most Latin characters.
_SURELY_BARE = re.compile(r"u00[a-f][0-9a-f]|u01(?:[0-9][a-f]|[a-f][0-9a-f])|(?:u[0-9a-f]{4}){2}")
_PERHAPS_BARE = re.compile(r"(?<=[a-z])u(?:01[0-9]{2}|20[12][0-9])(?=[a-z])")


class Ambiguous(ValueError):
    """A text that may be escaped, or not. The message is the reason why it stays."""


def unescaped(text: str) -> str:
    """Return a text with the characters that its escapes stand for.

    Raises:
        Ambiguous: It may not be escaped, or an escape stands for no character.
    """
    if "u" not in text:
        return text
    if _WITH_BACKSLASH.search(text):
        return _WITH_BACKSLASH.sub(_characters, text)
    if _SURELY_BARE.search(text):
        return _BARE.sub(_characters, text)
    if _PERHAPS_BARE.search(text):
        raise Ambiguous("may be an escaped character or a number")
    return text


def _characters(escapes: re.Match[str]) -> str:
    units = bytes.fromhex("".join(re.findall(f"u({_DIGITS})", escapes.group())))
    try:
        found = units.decode("utf-16-be")
    except UnicodeDecodeError:
        raise Ambiguous("an escape that stands for no character") from None
    if any(unicodedata.category(c) in ("Cc", "Cn", "Co", "Cs") and c not in "\t\n\r" for c in found):
        raise Ambiguous("an escape that stands for no character")
    return found


def clean_text(row: Mapping[str, Any], column: str, text: str, cleaned: Cleaned) -> None:
    """Clean a text as ingestion does."""
    stored, fault = text_for(column, text)
    if fault:
        cleaned.left.append(fault)
    elif text_for(column, stored)[0] != stored:
        cleaned.left.append(f"{column}: {AGAIN}")
    else:
        cleaned.set(row, column, stored or None)


def _clean_texts(row: Mapping[str, Any]) -> Cleaned:
    found = Cleaned()
    for column in ("title", "creator"):
        if row[column] is not None:
            clean_text(row, column, row[column], found)
    return found


def _untidy(columns: tuple[str, ...]) -> LiteralString:
    test: LiteralString = (
        "{column} = '' or {column} collate \"C\" ~ '" + UNTIDY + "|" + MARKUP + "' or length({column}) > 2000"
    )
    extension: LiteralString = f"title ~ '[.][^.]{{1,{LONGEST_EXTENSION}}}$'"
    return any_of(columns, test) + " or " + extension


TEXTS = Rule(
    "texts",
    "HTML, white space, control characters and double quotes in titles and creators, and extensions of files "
    "at the end of titles",
    ("title", "creator"),
    (),
    _untidy,
    _clean_texts,
)
