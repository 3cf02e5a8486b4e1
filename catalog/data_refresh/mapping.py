"""Settings and mappings of the search indexes; a change takes effect with the next refresh."""

from typing import Any

from catalog.core.media import MediaType
from catalog.data_refresh.tag_policy import TagPolicy

SHARDS: dict[MediaType, int] = {
    "image": 18,
    "audio": 1,
}  # what the big index needs; a connection's extra `shards` says otherwise
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
            # lower case first, so that the overrides meet capitalised words as well
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
    "char_filter": {"apart": {"type": "pattern_replace", "pattern": "[^\\p{L}\\p{N}]+", "replacement": " "}},
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
    """Return the body that creates an index to be filled, without replicas and refreshes.

    meta: what made the index; kept in its mapping's `_meta`.
    """
    return {
        "settings": {
            "index": {"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "-1"},
            "analysis": _ANALYSIS,
        },
        "mappings": {
            "dynamic": False,
            "_meta": meta,
            "_source": {"excludes": ["sensitive_text"]},
            "properties": {**_COMMON, **_SPECIFIC[media_type]},
        },
    }


def index_meta(media_type: MediaType, dag_id: str, run_id: str, policy: TagPolicy) -> dict[str, Any]:
    """Who made an index, and under which tag policy."""
    import msgspec

    return {
        "media_type": media_type,
        "dag_id": dag_id,
        "run_id": run_id,
        "tag_policy": msgspec.to_builtins(policy),
        "tag_policy_digest": policy.digest,
    }
