"""Settings and mappings of the search indexes. A change takes effect with the next refresh."""

from typing import Any

import msgspec

from catalog.core.media import MediaType
from catalog.data_refresh.search.tag_policy import TagPolicy

# Default number of shards; the extra `shards` of the connection overrides it.
SHARDS: dict[MediaType, int] = {"image": 18, "audio": 1}
TERMS = "sensitive_terms_digest"  # key of `_meta`: of the list of terms that a filtered index leaves out
_OVERRIDES = {
    "animals": "animal",
    "animal": "animal",
    "anime": "anime",
    "animate": "animate",
    "animated": "animate",
    "universe": "universe",
}
_ANALYSIS = {
    "filter": {
        "stem_overrides": {
            "type": "stemmer_override",
            "rules": [f"{word} => {stem}" for word, stem in _OVERRIDES.items()],
        },
        "english_stop": {"type": "stop", "stopwords": "_english_"},
        "english_stemmer": {"type": "stemmer", "language": "english"},
        "english_possessive_stemmer": {"type": "stemmer", "language": "possessive_english"},
    },
    "analyzer": {
        "custom_english": {
            "tokenizer": "standard",
            # Lower case first, so that the overrides also apply to capitalized words.
            "filter": [
                "english_possessive_stemmer",
                "lowercase",
                "stem_overrides",
                "english_stop",
                "english_stemmer",
            ],
        },
        "words": {"tokenizer": "standard", "char_filter": ["apart"], "filter": ["lowercase"]},
    },
    "char_filter": {
        "apart": {"type": "pattern_replace", "pattern": "[^\\p{L}\\p{M}\\p{N}]+", "replacement": " "}
    },
}
_KEYWORD, _RAW, _RANK = {"type": "keyword"}, {"type": "text"}, {"type": "rank_feature"}
_WORDS = {"keyword": {"type": "keyword", "ignore_above": 256}, "raw": _RAW}


def _english(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "analyzer": "custom_english", "fields": fields}


_COMMON: dict[str, Any] = {
    "id": {"type": "long"},
    "created_on": {"type": "date"},
    "mature": {"type": "boolean"},
    **dict.fromkeys(
        ("identifier", "extension", "license", "provider", "source", "filetype", "category"), _KEYWORD
    ),
    "title": {**_english(_WORDS), "similarity": "boolean"},
    "description": {**_english({"raw": _RAW}), "similarity": "boolean"},
    "creator": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
    "tags": {"properties": {"accuracy": {"type": "float"}, "name": _english(_WORDS)}},
    "sensitive_text": {"type": "text", "analyzer": "words", "norms": False},
    **dict.fromkeys(("standardized_popularity", "authority_boost", "max_boost", "min_boost"), _RANK),
    "authority_penalty": {"type": "rank_feature", "positive_score_impact": False},
}
_SPECIFIC: dict[MediaType, dict[str, Any]] = {
    "image": {"aspect_ratio": _KEYWORD, "size": _KEYWORD},
    "audio": {"length": _KEYWORD},
}


def index_body(media_type: MediaType, meta: dict[str, Any], shards: int) -> dict[str, Any]:
    """Return the body that creates an index for filling, without replicas and refreshes.

    Args:
        media_type: Media type of the documents.
        meta: Origin of the index (`index_meta`), stored in its mapping's `_meta`.
        shards: Number of primary shards.
    """
    return {
        "settings": {
            "index": {"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "-1"},
            "analysis": _ANALYSIS,
        },
        "mappings": {"dynamic": False, "_meta": meta, "properties": {**_COMMON, **_SPECIFIC[media_type]}},
    }


def index_meta(media_type: MediaType, dag_id: str, run_id: str, policy: TagPolicy) -> dict[str, Any]:
    """Return the origin of an index: DAG, run and tag policy."""
    return {
        "media_type": media_type,
        "dag_id": dag_id,
        "run_id": run_id,
        "tag_policy": msgspec.to_builtins(policy),
        "tag_policy_digest": policy.digest,
    }
