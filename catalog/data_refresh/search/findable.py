"""Whether the API's search finds the documents of an index, before an alias is pointed at it.

A mapping, an analyzer or a template may be wrong in ways that no count of documents shows.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from elasticsearch import NotFoundError

from catalog.core import loss_limits
from catalog.core.errors import Fatal, Refused
from catalog.core.media import MEDIA_TYPES
from catalog.core.wording import join_first
from catalog.data_refresh.search.client import complete_answer
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.queries import WITHOUT_MATURE, words_query

_PLACES = 5  # in an index, from which documents are taken
_OF_EACH = 4  # documents
# Words that are one token each for any analyzer, and that none leaves out, as it does `the`. What tokenizers
# do with apostrophes, combining accents, or texts without spaces differs from regular expressions, so texts
# in other alphabets are not looked for.
_WORD = re.compile(r"(?<!\S)[A-Za-z]{6,40}(?=[\s,;:!?]|$)")
_WORDS = 3  # of a text; each is looked for in three fields, and engines limit the clauses of a query


def _names_of_tags(document: Mapping[str, Any]) -> str:
    return " ".join(str(tag.get("name", "")) for tag in (document.get("tags") or []))


_TEXTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "title": lambda document: str(document.get("title") or ""),
    "description": lambda document: str(document.get("description") or ""),
    "tags": _names_of_tags,
}


def refuse_unfindable(engine: Indexes, alias: str, index: str, *, accepted: bool) -> list[str]:
    """Look for documents of an index as the API does, by words of their own texts.

    What is behind the alias now is asked the same: only what it finds has to be found.

    Args:
        engine: Operations on indexes.
        alias: The alias that is to be pointed at the index.
        index: Name of the index.
        accepted: Accept that far fewer documents are found.

    Returns:
        What far fewer documents are found by, if that is accepted, or the API does not search this alias.

    Raises:
        Refused: There is no such index, the engine refuses the API's search, or it finds far fewer documents
            than it should.
        Retry: The engine does not answer.
    """
    try:
        engine.refresh(index)
        findings = unfindable(engine, alias, index)
    except (Fatal, NotFoundError) as error:
        raise Refused(f"the API's search cannot be asked of {index}: {error}") from None
    if findings and not accepted and alias in {n for m in MEDIA_TYPES for n in (m, filtered_name(m))}:
        raise Refused(
            f"{join_first(findings, separator='; ')}. Look at the mapping and the analyzers of {index}, and "
            'at index templates; if this is wanted, trigger the DAG with {"accept_shrinkage": true}.'
        )
    return findings


def unfindable(engine: Indexes, alias: str, index: str) -> list[str]:
    """Return by words of which texts far fewer documents of an index are found than should be.

    Args:
        engine: Operations on indexes.
        alias: The alias with which the index is compared, or by which it is searched already.
        index: Name of the index.

    Raises:
        NotFoundError: There is no such index.
        Fatal: The engine refuses the API's search of the index.
        Retry: The engine does not answer.
    """
    documents, live, findings = _sample(engine, index), engine.resolve_alias(alias), []
    for field, text in _TEXTS.items():
        words = {key: " ".join(_WORD.findall(text(document))[:_WORDS]) for key, document in documents.items()}
        wanted = {key: some for key, some in words.items() if some}
        found = _found(engine, index, wanted)  # also without any, so that the engine accepts the query
        known = _known(engine, live, wanted) if live else set()
        right = known or wanted.keys()  # what is behind the alias may find nothing at all
        if loss_limits.lost_too_many(len(right), len(found & right), loss_limits.SOURCE):
            before = f", which {live} finds" if known else ""
            numbers = f"{len(found & right)} of {len(right)} documents"
            findings.append(f"{index} finds {numbers} by words of their {field}{before}")
    return findings


def _known(engine: Indexes, live: str, words: Mapping[str, str]) -> set[str]:
    try:
        return _found(engine, live, words)
    except (Fatal, NotFoundError):  # the alias is to be moved away from it
        return set()


def _sample(engine: Indexes, index: str) -> dict[str, Mapping[str, Any]]:
    """Return documents of several places of an index that searches may find, by their keys."""
    ids = {"first": {"min": {"field": "id"}}, "last": {"max": {"field": "id"}}}
    ends = complete_answer(engine.ask(engine.client.search, index=index, size=0, aggregations=ids))
    first, last = (ends["aggregations"][name]["value"] for name in ids)
    documents: dict[str, Mapping[str, Any]] = {}
    if first is None:
        return documents
    step = (last - first) / _PLACES
    for place in range(_PLACES):
        later = {"range": {"id": {"gte": int(first + place * step)}}}
        answer = engine.ask(
            engine.client.search,
            index=index,
            query={"bool": {"filter": [later], **WITHOUT_MATURE}},
            sort=[{"id": "asc"}],
            size=_OF_EACH,
            track_total_hits=False,
        )
        documents |= {hit["_id"]: hit["_source"] for hit in complete_answer(answer)["hits"]["hits"]}
    return documents


def _found(engine: Indexes, name: str, words: Mapping[str, str]) -> set[str]:
    """Return the keys of documents that the API's search for their words finds."""
    each = [
        {"bool": {"must": [words_query(text)], "filter": [{"ids": {"values": [key]}}]}}
        for key, text in (words or {"none": "none"}).items()
    ]
    answer = engine.ask(
        engine.client.search,
        index=name,
        query={"bool": {"should": each, "minimum_should_match": 1}},
        size=len(each),
        source=False,
        track_total_hits=False,
    )
    return {hit["_id"] for hit in complete_answer(answer)["hits"]["hits"]}
