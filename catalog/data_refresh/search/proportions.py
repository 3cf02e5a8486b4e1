"""A smaller selection of documents that keeps the proportions of the sources.

Of each source, a random sample is chosen: the documents for which the engine draws the highest numbers,
from their identifiers and the name of the index. So the same number chooses the same documents of an index
again, and a larger one chooses them, too. The identifiers themselves grow with time and would choose the
oldest documents.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from catalog.core.errors import Refused, Retry
from catalog.data_refresh.search.client import complete_answer
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.templates import WINDOW

_DRAWS = 1 << 24  # different random numbers of the engine, at equal distances from 0 to 1


class Selection(NamedTuple):
    """The documents that are chosen.

    Attributes:
        query: Matches them.
        documents: Source → their number.
        missing: Source → how many the index lacks of those that the proportions ask for.
    """

    query: dict[str, Any]
    documents: dict[str, int]
    missing: dict[str, int]


def share_of(sources: Mapping[str, int], percentage: float) -> int:
    """Return a percentage of all documents, rounded, at least 1."""
    exact = Decimal(sum(sources.values())) * Decimal(str(percentage)) / 100
    return max(1, int(exact.quantize(Decimal(1), ROUND_HALF_UP)))


def proportional(sources: Mapping[str, int], number: int, *, each: bool = False) -> dict[str, int]:
    """Divide a number among sources in proportion to their documents, by the largest remainders.

    Args:
        sources: Source → documents.
        number: What is divided; the result adds up to it.
        each: Give each source at least one, at the cost of the others.

    Raises:
        Refused: There are no documents, fewer than `number`, or more sources than `number`.
    """
    there = {source: documents for source, documents in sources.items() if documents > 0}
    if not there or number > sum(there.values()):
        raise Refused(f"{number:,} documents were asked for, of {sum(there.values()):,}.")
    if each and number < len(there):
        raise Refused(f"{number:,} documents are too few for one of each of {len(there):,} sources.")
    single: set[str] = set()
    while True:
        rest = {source: documents for source, documents in there.items() if source not in single}
        divided = _largest_remainders(rest, number - len(single))
        without = {source for source, documents in divided.items() if not documents}
        if not each or not without:
            return {**divided, **dict.fromkeys(single, 1)}
        single |= without


def _largest_remainders(sources: Mapping[str, int], number: int) -> dict[str, int]:
    total = sum(sources.values())
    divided = {source: number * documents // total for source, documents in sources.items()}
    remainders = sorted(sources, key=lambda source: (-(number * sources[source] % total), source))
    for source in remainders[: number - sum(divided.values())]:
        divided[source] += 1
    return divided


def select(engine: Indexes, name: str, wanted: Mapping[str, int]) -> Selection:
    """Choose documents of an index.

    Args:
        engine: Operations on indexes.
        name: Name of the index.
        wanted: Source → number of documents.

    Raises:
        Refused: The index has none of them.
        Retry: The index changes at this moment.
    """
    there = engine.sources(name)
    chosen = {source: min(number, there.get(source, 0)) for source, number in wanted.items()}
    documents = {source: number for source, number in chosen.items() if number}
    if not documents:
        raise Refused(f"{name} has no documents of the sources {', '.join(sorted(wanted))}.")
    complete = sorted(source for source, number in documents.items() if number == there[source])
    clauses = [_of(source) for source in complete]
    for source, number in sorted(documents.items()):
        if source not in complete:
            clauses.append(_sample(engine, name, source, number))
    query = _any(clauses)
    if (found := engine.count(name, query)) != sum(documents.values()):
        raise Retry(f"{found:,} documents of {name} are chosen instead of {sum(documents.values()):,}.")
    missing = {
        source: number - chosen[source] for source, number in wanted.items() if number > chosen[source]
    }
    return Selection(query, documents, missing)


def _sample(engine: Indexes, name: str, source: str, number: int) -> dict[str, Any]:
    """Return a query for a number of random documents of a source, which has more.

    The least random number that is chosen is found by bisection. Of the documents for which the next lower
    one was drawn, those with the lowest identifiers are added.
    """
    too_low, least = 0, _DRAWS
    while least - too_low > 1:
        between = (too_low + least) // 2
        if engine.count(name, _drawn(source, between)) > number:
            too_low = between
        else:
            least = between
    chosen = _drawn(source, least)
    if not (rest := number - engine.count(name, chosen)):
        return chosen
    answer = engine.ask(
        engine.client.search,
        index=name,
        query={"bool": {"filter": [_drawn(source, too_low)], "must_not": [chosen]}},
        size=min(rest, WINDOW),
        sort=[{"identifier": "asc"}],
        source=False,
        track_total_hits=False,
    )
    hits = complete_answer(answer)["hits"]["hits"]
    if len(hits) != rest:
        raise Retry(f"the documents of {source} in {name} change at this moment.")
    upto = {"range": {"identifier": {"lte": hits[-1]["sort"][0]}}}
    return _any([chosen, {"bool": {"filter": [_drawn(source, too_low), upto]}}])


def _drawn(source: str, least: int) -> dict[str, Any]:
    """Return a query for the documents of a source for which at least a random number is drawn.

    Args:
        source: The source.
        least: From 0, for all of them, to `_DRAWS`, for none.
    """
    return {
        "function_score": {
            "query": _of(source),
            "random_score": {"seed": 1, "field": "identifier"},
            "boost_mode": "replace",
            "min_score": least / _DRAWS,
        }
    }


def _of(source: str) -> dict[str, Any]:
    """Return a query for the documents of a source; "" for those without one."""
    if source:
        return {"term": {"source": source}}
    return {"bool": {"must_not": [{"exists": {"field": "source"}}]}}


def _any(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"should": clauses, "minimum_should_match": 1}}
