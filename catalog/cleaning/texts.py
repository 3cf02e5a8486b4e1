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
# Without a backslash, what looks like an escape may be a word and a number (menu2014), or a part of a word
# (rubbed). A text has lost backslashes if it has several in a row, or one whose number has letters, as that
# of most Latin characters.
_SURELY_BARE = re.compile(r"u00[a-f][0-9a-f]|u01(?:[0-9][a-f]|[a-f][0-9a-f])|(?:u[0-9a-f]{4}){2}")
_PERHAPS_BARE = re.compile(r"(?<=[a-z])u(?:01[0-9]{2}|20[12][0-9])(?=[a-z])")

PERHAPS_A_NUMBER = "may be an escaped character or a number"


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
        return _BARE.sub(_bare_characters, text)
    if _PERHAPS_BARE.search(text):
        raise Ambiguous(PERHAPS_A_NUMBER)
    return text


def _bare_characters(escapes: re.Match[str]) -> str:
    """Return the characters of a run of escapes, in a text that has lost backslashes.

    Four letters beside others are a part of a word (`rubbed`). After a letter, digits may be a number
    (`menu2014`), unless a letter follows them, as in `lu2019u00e9tu00e9` (l'été), or they begin with 0, as in
    `Beneu0161` (Beneš); ASCII is rarely escaped, so `Peru0042` may be a number.

    Raises:
        Ambiguous: The run may begin with a word or a number.
    """
    run, text = escapes.group(), escapes.string
    before, after = text[escapes.start() - 1 : escapes.start()], text[escapes.end() : escapes.end() + 1]
    first = run[1:5]
    if first.isalpha() and run == f"u{first}" and (before.isalpha() or after.isalpha()):
        return run
    found = _characters(escapes)
    may_count = first.isdigit() and (first[0] != "0" or found[0].isascii())
    is_number = may_count and not (found[1:] + after)[:1].isalpha()
    if before.isalpha() and (is_number or first.isalpha()):
        raise Ambiguous(PERHAPS_A_NUMBER)
    return found


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
