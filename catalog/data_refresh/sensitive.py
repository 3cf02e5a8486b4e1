"""Which documents are sensitive: those whose text holds a term of a list.

A term of one word is looked up among the words of title, description and tags; one of several words must
occur as a phrase. The tags that the tag policy keeps out of a document count as well, by a field that is
searched but not shown. Terms are compared in their normal form; that field holds the texts that are other
characters in theirs (`documents.py`).
"""

import re
from collections.abc import Iterable
from typing import Any

from catalog.core.errors import Fatal
from catalog.data_refresh.normal_form import normal_form

FIELDS = ("title.raw", "description.raw", "tags.name.raw", "sensitive_text")
_ONE_WORD = re.compile(r"[a-z0-9]+")
_MARKUP = re.compile(
    r"<!doctype|<!--|<\?xml|</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>"
)  # a page instead of a list; `<3` is a term
_LONGEST = 200  # characters of a term; more is not a term but a sign of a wrong file
# An engine takes 1 024 clauses in a query, unless it is set up otherwise, and counts nested ones; a word list of one field is one clause
# of at most 65 536 words. The engine adds a few clauses of its own when it works in slices.
CLAUSES = 900
WORDS = 5_000  # in one clause
PER_FIELD = CLAUSES // len(FIELDS)


def parse_terms(text: str) -> list[str]:
    """Parse one term a line, without empty lines and comments (#). Raises Fatal for an empty or absurd list.

    Without terms, "filtered" would mean everything: an empty answer of a server must not do that.
    """
    lines = [line.lstrip("\ufeff") for line in text.splitlines()]
    found = {" ".join(normal_form(line).split()) for line in lines if not line.lstrip().startswith("#")}
    terms = sorted(found - {""})
    if not terms:
        raise Fatal("the list of sensitive terms is empty; the filtered index would hide nothing.")
    if long := [t for t in terms if len(t) > _LONGEST or _MARKUP.search(t)]:
        raise Fatal(f"the list of sensitive terms is not a list of terms: {long[0][:60]!r}")
    return terms


def sensitive_groups(terms: Iterable[str]) -> list[dict[str, Any]]:
    """Return queries that together find the sensitive documents, each within an engine's usual limits."""
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
    """Return one query that finds the sensitive documents; engines refuse it for some hundred terms."""
    return _any(sensitive_groups(terms))


def _any(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"should": clauses, "minimum_should_match": 1}}
