"""Whether the API's search finds the documents of an index, before an alias is pointed at it.

A mapping, an analyzer or a template may be wrong in ways that no count of documents shows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from elasticsearch import NotFoundError

from catalog.core import loss_limits
from catalog.core.errors import Fatal, Refused
from catalog.core.media import MEDIA_TYPES
from catalog.data_refresh.search.client import complete_answer
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.kinds import kind_of
from catalog.data_refresh.search.queries import WITHOUT_MATURE, words_query
from catalog.database.refusals import Finding, Judge

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


ADVICE = "Look at the mapping and the analyzers, and at index templates."


def search_findings(engine: Indexes, alias: str, index: str) -> list[Finding]:
    """Look for documents of an index as the API does, by words of their own texts.

    What is behind the alias now is asked the same: only what it finds has to be found.

    Args:
        engine: Operations on indexes.
        alias: The alias that is to be pointed at the index.
        index: Name of the index.

    Returns:
        What far fewer documents are found by than should be.

    Raises:
        Refused: There is no such index, or the engine refuses the API's search.
        Retry: The engine does not answer.
    """
    try:
        engine.refresh(index)
        return unfindable(engine, alias, index)
    except (Fatal, NotFoundError) as error:
        raise Refused(f"the API's search cannot be asked of {index}: {error}") from None


def is_searched(alias: str) -> bool:
    """Return whether the API searches an alias: otherwise, what is not found matters to those who made it."""
    return alias in {name for media_type in MEDIA_TYPES for name in (media_type, filtered_name(media_type))}


def refuse_unfindable(
    engine: Indexes, targets: Mapping[str, str], judge: Judge, search: str
) -> Sequence[str]:
    """Refuse indexes in which the API's search finds far fewer documents than it should.

    Args:
        engine: Operations on indexes.
        targets: Alias → index at which it is to point.
        judge: Says whether it is accepted that far fewer are found.
        search: Airflow connection of the search engine.

    Returns:
        What far fewer documents are found by, if that is accepted, or the API does not search the alias.

    Raises:
        Refused: See `search_findings`; or far fewer are found, and that is not accepted.
    """
    found = {alias: search_findings(engine, alias, index) for alias, index in targets.items()}
    notes = [one.text for alias, findings in found.items() if not is_searched(alias) for one in findings]
    judged = judge(
        {
            kind_of("found documents", alias, search): findings
            for alias, findings in found.items()
            if is_searched(alias)
        }
    )
    if judged.refused:
        raise Refused(judged.message(f"{judged.problems}.", ADVICE))
    return [*notes, *judged.accepted]


def unfindable(engine: Indexes, alias: str, index: str) -> list[Finding]:
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
    documents, live = _sample(engine, index), engine.resolve_alias(alias)
    findings = []
    for field, text in _TEXTS.items():
        words = {key: " ".join(_WORD.findall(text(document))[:_WORDS]) for key, document in documents.items()}
        wanted = {key: some for key, some in words.items() if some}
        found = _found(engine, index, wanted)  # also without any, so that the engine accepts the query
        known = _known(engine, live, wanted) if live else set()
        right = known or wanted.keys()  # what is behind the alias may find nothing at all
        if loss_limits.lost_too_many(len(right), len(found & right), loss_limits.SOURCE):
            before = f", which {live} finds" if known else ""
            numbers = f"{len(found & right)} of {len(right)} documents"
            said = f"{index} finds {numbers} by words of their {field}{before}"
            findings.append(Finding(field, len(right), len(found & right), said))
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
