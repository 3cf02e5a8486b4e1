"""Search by words, best matches first."""

from collections.abc import Mapping
from typing import Any

import msgspec
from elasticsearch import NotFoundError

from catalog.core.errors import Fatal
from catalog.data_refresh.search.client import ask, complete_answer
from catalog.data_refresh.search.indexes import Indexes

WITHOUT_MATURE = {"must_not": [{"term": {"mature": True}}]}  # clause of a `bool` query


class Hit(msgspec.Struct, frozen=True):
    """A matching document.

    Attributes:
        score: Relevance, from the engine.
        identifier: Identifier of the record.
        source: Content of the document.
    """

    score: float
    identifier: str
    source: Mapping[str, Any]

    def text(self, field: str) -> str:
        """Return the text of a field; "" if it has none."""
        value = self.source.get(field)
        return value if isinstance(value, str) else ""

    def tags(self, number: int) -> str:
        """Return the names of the first tags, for people."""
        tags = self.source.get("tags")
        names = [tag.get("name") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
        return ", ".join(name for name in names[:number] if isinstance(name, str))


class Hits(msgspec.Struct, frozen=True):
    """Result of a search.

    Attributes:
        total: Number of all matches.
        first: The best matches.
        index: Name of the index that was searched.
    """

    total: int
    first: list[Hit]
    index: str


def matching(words: str) -> dict[str, Any]:
    """Return a query for all words in title, description or tags, without mature media, in no order.

    Args:
        words: Words of the user; "" for all media.
    """
    in_text = {
        "simple_query_string": {
            "query": words,
            "fields": ["title", "description", "tags.name"],
            "default_operator": "and",
        }
    }
    return {"bool": {"must": [in_text if words else {"match_all": {}}], **WITHOUT_MATURE}}


def words_query(words: str) -> dict[str, Any]:
    """Return the query `matching`, the best and most popular media first."""
    return {
        "bool": {
            **matching(words)["bool"],
            "should": [
                {"rank_feature": {"field": "standardized_popularity", "boost": 2}},
                {"rank_feature": {"field": "authority_boost"}},
            ],
        }
    }


def search(engine: Indexes, alias: str, words: str, size: int = 10) -> Hits:
    """Search an index.

    Args:
        engine: Operations on indexes.
        alias: Alias or name of the index.
        words: Words of the user.
        size: Maximum number of documents to return.

    Raises:
        Fatal: The alias does not exist, or points at several indexes.
        Retry: The engine does not answer.
    """
    try:
        index = engine.resolve_alias(alias) or alias
        answer = ask(
            engine.client.search, index=alias, query=words_query(words), size=size, track_total_hits=True
        )
    except NotFoundError:
        raise Fatal(
            f"there is no index {alias} yet; trigger {alias.partition('-')[0]}_data_refresh first."
        ) from None
    found = complete_answer(answer)
    hits = [Hit(h["_score"] or 0.0, h["_id"], h["_source"]) for h in found["hits"]["hits"]]
    return Hits(found["hits"]["total"]["value"], hits, index)
