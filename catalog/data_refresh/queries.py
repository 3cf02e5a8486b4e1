"""What somebody who searches gets: the query of words on an index, best matches first."""

from collections.abc import Mapping
from typing import Any

import msgspec
from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.errors import Fatal
from catalog.data_refresh.client import ask


class Hit(msgspec.Struct, frozen=True):
    """A document that was found."""

    score: float
    identifier: str
    source: Mapping[str, Any]


class Hits(msgspec.Struct, frozen=True):
    """total: of all matches; first: the best ones; index: which one answered."""

    total: int
    first: list[Hit]
    index: str


def words_query(words: str) -> dict[str, Any]:
    """Return a query for all words in title, description or tags, popular first, without mature media."""
    return {
        "bool": {
            "must": [
                {
                    "simple_query_string": {
                        "query": words,
                        "fields": ["title", "description", "tags.name"],
                        "default_operator": "and",
                    }
                }
            ],
            "must_not": [{"term": {"mature": True}}],
            "should": [
                {"rank_feature": {"field": "standardized_popularity", "boost": 2}},
                {"rank_feature": {"field": "authority_boost"}},
            ],
        }
    }


def search(client: Elasticsearch, alias: str, words: str, size: int = 10) -> Hits:
    """Raises Fatal when there is no such alias yet, Retry when the engine does not answer."""
    try:
        found = ask(client.search, index=alias, query=words_query(words), size=size, track_total_hits=True)
        index = next(iter(ask(client.indices.get_alias, name=alias).body), alias)
    except NotFoundError:
        raise Fatal(
            f"there is nothing to search behind {alias}; trigger {alias.partition('-')[0]}_data_refresh first."
        ) from None
    hits = [Hit(h["_score"] or 0.0, h["_id"], h["_source"]) for h in found["hits"]["hits"]]
    return Hits(found["hits"]["total"]["value"], hits, index)
