"""Queries for sensitive documents: those whose text contains a term of a list.

A term of one word matches a word of title, description or tags. A term of several words matches as a phrase.
Tags that the tag policy drops also count: the field `sensitive_text` holds them, which only these queries
search. Terms are compared in their normal form; the same field holds the normal form of texts that differ
from it (`documents.py`).
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import orjson

from catalog.core.errors import Fatal
from catalog.core.wording import join_first
from catalog.data_refresh.search.documents import LONGEST_TERM
from catalog.data_refresh.search.normal_form import normal_form

TEXT = "sensitive_text"  # a document keeps it, so that no partial update loses it
FIELDS = ("title.raw", "description.raw", "tags.name.raw", TEXT)
_ONE_WORD = re.compile(r"[a-z0-9]+")
# A page instead of a list; `<3` is a term.
_MARKUP = re.compile(r"<!doctype|<!--|<\?xml|</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>")
# By default, an engine accepts 1,024 clauses in a query, nested ones included. A `terms` clause is one clause
# of at most 65,536 words. The engine adds a few clauses to a query in slices.
CLAUSES = 900
WORDS = 5_000  # per clause
PER_FIELD = CLAUSES // len(FIELDS)


def parse_terms(text: str) -> list[str]:
    """Parse a list with one term per line; empty lines and comments (#) are ignored.

    Returns:
        The terms in their normal form, sorted.

    Raises:
        Fatal: The list is empty, so the filtered index would hide nothing, or it is not a list of terms, or
            has entries without a word: the engine finds none in them, and the dataset would lack any record
            with such a sign, as a dash is.
    """
    if _is_json(text):
        raise Fatal(f"the list of sensitive terms is JSON, not one term on each line: {text.strip()[:60]!r}")
    lines = [line.lstrip("\ufeff") for line in text.splitlines()]
    found = {" ".join(normal_form(line).split()) for line in lines if not line.lstrip().startswith("#")}
    terms = sorted(found - {""})
    if not terms:
        raise Fatal("the list of sensitive terms is empty; the filtered index would hide nothing.")
    # A longer term shows that the file is a wrong one.
    if long := [t for t in terms if len(t) > LONGEST_TERM or _MARKUP.search(t)]:
        raise Fatal(f"the list of sensitive terms is not a list of terms: {long[0][:60]!r}")
    if idle := [term for term in terms if not _has_word(term)]:
        raise Fatal(
            "the list of sensitive terms has entries without a letter or digit, which hide nothing in the "
            f"search index: {join_first(map(repr, idle))}. Remove them."
        )
    return terms


def _has_word(term: str) -> bool:
    """Return whether there is a letter, a digit or a symbol such as an emoji, which is a word by itself."""
    return any(char.isalnum() or unicodedata.category(char) == "So" for char in term)


def _is_json(text: str) -> bool:
    """Return whether a text is an object, an array or a string of JSON, such as the error of a server."""
    begun = text.lstrip("\ufeff \t\r\n")
    if begun[:1] not in ("{", "[", '"'):
        return False
    try:
        orjson.loads(begun)
    except orjson.JSONDecodeError:
        return False
    return True


def digest_of(terms: Iterable[str]) -> str:
    """Return a digest of a list of terms, which tells whether the list has changed."""
    return hashlib.sha256("\n".join(terms).encode()).hexdigest()


def sensitive_groups(terms: Iterable[str]) -> list[dict[str, Any]]:
    """Return queries that together find the sensitive documents, each within the engine's default limits."""
    normal = sorted({" ".join(normal_form(term).split()) for term in terms} - {""})
    words = [t for t in normal if _ONE_WORD.fullmatch(t)]
    phrases = [t for t in normal if not _ONE_WORD.fullmatch(t)]
    clauses: list[tuple[str, Any]] = [("terms", words[i : i + WORDS]) for i in range(0, len(words), WORDS)]
    clauses += [("match_phrase", phrase) for phrase in phrases]
    return [
        _any([{kind: {field: value}} for kind, value in clauses[i : i + PER_FIELD] for field in FIELDS])
        for i in range(0, len(clauses), PER_FIELD)
    ]


def sensitive(terms: Iterable[str]) -> dict[str, Any]:
    """Return one query that finds the sensitive documents; an engine refuses it for some hundred phrases."""
    return _any(sensitive_groups(terms))


def _any(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"should": clauses, "minimum_should_match": 1}}
