"""The filtered index: the documents without those whose text holds a sensitive term.

A term of one word is looked up among the words of title, description and tags; one of several words must occur as a phrase. The tags that
the tag policy keeps out of a document count as well, by a field that is searched but not shown.
"""

import re
from typing import Any

from catalog.ingestion.errors import Fatal

FIELDS = ("title.raw", "description.raw", "tags.name.raw", "sensitive_text")
_ONE_WORD = re.compile(r"[a-z0-9]+")
_LONGEST = 200  # characters of a term; more is not a term but a sign of a wrong file


def parse_terms(text: str) -> list[str]:
    """One term a line; empty lines and lines that begin with # count for nothing. Raises Fatal when no term is left, or one is absurd.

    Without terms, "filtered" would mean everything: an empty answer of a server must not do that.
    """
    terms = sorted(
        {
            " ".join(line.lower().split())
            for line in text.splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        }
    )
    if not terms:
        raise Fatal("the list of sensitive terms is empty; the filtered index would hide nothing.")
    if long := [t for t in terms if len(t) > _LONGEST or "<" in t]:
        raise Fatal(f"the list of sensitive terms is not a list of terms: {long[0][:60]!r}")
    return terms


def sensitive(terms: list[str]) -> dict[str, Any]:
    """A query that finds the sensitive documents."""
    words = [t for t in terms if _ONE_WORD.fullmatch(t)]
    phrases = [t for t in terms if not _ONE_WORD.fullmatch(t)]
    clauses: list[dict[str, Any]] = [{"terms": {field: words}} for field in FIELDS if words]
    clauses += [{"match_phrase": {field: phrase}} for phrase in phrases for field in FIELDS]
    return {"bool": {"should": clauses, "minimum_should_match": 1}}


def insensitive(terms: list[str]) -> dict[str, Any]:
    """A query that finds all others."""
    return {"bool": {"must_not": [sensitive(terms)]}}
