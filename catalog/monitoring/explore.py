"""Search by words and filters, as the API does, and everything that is known about one record."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from elasticsearch import Elasticsearch, NotFoundError
from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.client import ask, complete_answer
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.queries import matching, words_query
from catalog.data_refresh.search.tag_policy import TagFilter, TagPolicy
from catalog.monitoring.loads import Load, loads_of
from catalog.monitoring.rows import rows
from catalog.monitoring.sources import Source, all_sources

PAGE = 24  # results of a page
DEEPEST = 10_000  # results that the engine pages through
FACETS = {"source": "source", "license": "license", "category": "category", "type": "extension"}
VALUES = 30  # of a facet
REPORTS = 20  # of users about a record
# `mature`: there is a document, which no search shows.
Visible = Literal["found", "mature", "missing", "no index"]
LIMIT = "1s"  # for counting facets; an index of any size has a page


class Search(msgspec.Struct, frozen=True):
    """What is searched.

    Attributes:
        media_type: Media type.
        words: Words of the user; "" for everything.
        filtered: Search the index without sensitive media.
        filters: Facet (a key of FACETS) → value.
        page: Page of the results, from 1.
    """

    media_type: MediaType
    words: str = ""
    filtered: bool = False
    filters: Mapping[str, str] = {}
    page: int = 1

    @property
    def alias(self) -> str:
        return filtered_name(self.media_type) if self.filtered else self.media_type


class Found(msgspec.Struct, frozen=True):
    """Results of a search.

    Attributes:
        index: The index that was searched; None if there is none yet.
        total: Number of all matches.
        documents: Documents of the page, by identifier.
        facets: Facet → value → matches; the values with the most of them.
        others: Facet → matches with another value.
        counted: True if all matches were counted by facet; False if there was only time for a part of them.
        pages: Number of pages that can be shown.
    """

    index: str | None
    total: int
    documents: dict[str, dict[str, Any]]
    facets: dict[str, dict[str, int]]
    others: dict[str, int]
    counted: bool
    pages: int


class TagVerdict(msgspec.Struct, frozen=True):
    """A tag of a record and what the policy does to it.

    Attributes:
        name: Name of the tag, or the JSON of a malformed one.
        provider: Who gave it; "" if it is unknown.
        accuracy: Accuracy of a machine-generated tag; None for others.
        rule: Rule that drops it; "" if it is searched.
    """

    name: str
    provider: str
    accuracy: float | None
    rule: str


class InApi(msgspec.Struct, frozen=True):
    """What the API database has of a record: its row, what moderators decided, and what users reported.

    Attributes:
        row_id: Id of its row; None if it has none.
        deleted_on: When moderators deleted it; None if they did not.
        mature_on: When it was marked as mature; None if it was not.
        reports: Reports of users: `created_at`, `reason`, `status`.
    """

    row_id: int | None
    deleted_on: datetime | None
    mature_on: datetime | None
    reports: list[dict[str, Any]]


class Record(msgspec.Struct, frozen=True):
    """A record of the catalog.

    Attributes:
        media_type: Media type.
        fields: Columns of its row.
        deleted: True if it is among the deleted records.
        source: Its provider; None if no provider of this release has its name.
        loads: The loads that created it and last changed it.
    """

    media_type: MediaType
    fields: dict[str, Any]
    deleted: bool
    source: Source | None
    loads: list[Load]


def find(client: Elasticsearch, wanted: Search) -> Found:
    """Search an index; nothing is found if its alias does not exist yet.

    Raises:
        SeveralIndexes: The alias points at several indexes, so that records are found twice.
        Retry: The engine does not answer.
    """
    try:
        with ThreadPoolExecutor(4) as pool:
            index = pool.submit(Indexes(client, patience=0).resolve_alias, wanted.alias)
            ranked = pool.submit(_ranked, client, wanted)
            counted = pool.submit(_facets, client, wanted)
            total = complete_answer(ask(client.count, index=wanted.alias, query=_query(wanted, "filter")))[
                "count"
            ]
            # The alias first: if it is wrong, the rest is.
            searched = index.result()
            hits, facets = ranked.result()["hits"]["hits"], counted.result()
    except NotFoundError:
        return Found(None, 0, {}, {name: {} for name in FACETS}, {}, True, 0)
    return Found(
        searched,
        total,
        {hit["_id"]: hit["_source"] for hit in hits},
        {
            name: {bucket["key"]: bucket["doc_count"] for bucket in found["buckets"]}
            for name, found in facets["aggregations"].items()
        },
        {name: found["sum_other_doc_count"] for name, found in facets["aggregations"].items()},
        not facets["timed_out"],
        pages(total),
    )


def _query(wanted: Search, clause: Literal["must", "filter"]) -> dict[str, Any]:
    """Return the query for documents; as a filter, it gives no scores and is cheaper."""
    filters = [{"term": {FACETS[name]: value}} for name, value in wanted.filters.items()]
    if clause == "filter":
        return {"bool": {"filter": [matching(wanted.words), *filters]}}
    return {"bool": {"must": [words_query(wanted.words)], "filter": filters}}


def _ranked(client: Elasticsearch, wanted: Search) -> Any:
    """Search the documents of a page. Exact totals would cost the engine the score of every match."""
    first = (wanted.page - 1) * PAGE
    return complete_answer(
        ask(
            client.search,
            index=wanted.alias,
            query=_query(wanted, "must"),
            from_=first,
            size=PAGE,
            track_total_hits=False,
        )
    )


def _facets(client: Elasticsearch, wanted: Search) -> Any:
    """Count matches by facet. The answer does not depend on the page; the engine keeps it until a refresh."""
    return complete_answer(
        ask(
            client.search,
            index=wanted.alias,
            query=_query(wanted, "filter"),
            aggs={name: {"terms": {"field": field, "size": VALUES}} for name, field in FACETS.items()},
            size=0,
            track_total_hits=False,
            request_cache=True,
            timeout=LIMIT,
        ),
        in_time=False,
    )


def pages(total: int) -> int:
    """Return the number of pages that can be shown of a number of results."""
    return min(-(-total // PAGE), DEEPEST // PAGE)


def of_identifiers(
    connection: Connection, media_type: MediaType, keys: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return identifier → columns that attributions and thumbnails need; other keys than UUIDs have none."""
    query = sql.SQL(
        "select identifier::text, title, creator, license, license_version, foreign_landing_url, url, "
        "thumbnail from {} where identifier = any(%s::uuid[])"
    ).format(sql.Identifier("public", media_type))
    return {row["identifier"]: row for row in rows(connection, query, [[k for k in keys if _is_uuid(k)]])}


def _is_uuid(key: str) -> bool:
    try:
        return str(UUID(key)) == key
    except ValueError:
        return False


def record(connection: Connection, media_type: MediaType, key: UUID) -> Record | None:
    """Return a record of the catalog, deleted ones included; None if there is none."""
    for deleted in (False, True):
        table = f"deleted_{media_type}" if deleted else media_type
        query = sql.SQL("select * from {} where identifier = %s").format(sql.Identifier("public", table))
        if found := rows(connection, query, [key]):
            fields = found[0]
            own = (s for s in all_sources() if (s.name, s.media_type) == (fields["provider"], media_type))
            moments = {fields["created_on"], fields["updated_on"]}
            loads = loads_of(connection, fields["provider"], media_type, moments)
            return Record(media_type, fields, deleted, next(own, None), loads)
    return None


def tags(value: Any, policy: TagPolicy) -> list[TagVerdict]:
    """Return what a policy does to each tag of a record; searched tags first.

    Args:
        value: The column `tags`, of any JSON type.
        policy: The tag policy.
    """
    rule = TagFilter(policy).rule
    found = [_verdict(tag, rule(tag) or "") for tag in (value if isinstance(value, list) else [])]
    return sorted(found, key=lambda verdict: bool(verdict.rule))


def _verdict(tag: Any, rule: str) -> TagVerdict:
    about = tag if isinstance(tag, dict) else {}
    name, provider, accuracy = (about.get(key) for key in ("name", "provider", "accuracy"))
    return TagVerdict(
        name if isinstance(name, str) else msgspec.json.encode(tag).decode(),
        provider if isinstance(provider, str) else "",
        _real(accuracy),
        rule,
    )


def _real(value: Any) -> float | None:
    """Return a JSON number as a float; None for other values, and for integers beyond all floats."""
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return None


def in_api(api: Connection, media_type: MediaType, key: UUID) -> InApi:
    """Return what the API database has of a record."""
    deleted, mature = (_decided(api, kind, media_type, key) for kind in ("deleted", "mature"))
    reported = "nsfw_reports" if media_type == "image" else "nsfw_reports_audio"
    query = sql.SQL(
        "select created_at, reason, to_jsonb(r) ->> 'status' as status from {} r where identifier = %s "
        "order by created_at desc limit {}"
    ).format(sql.Identifier("public", reported), REPORTS)
    return InApi(_row_id(api, media_type, key), deleted, mature, rows(api, query, [key]))


def _decided(api: Connection, kind: str, media_type: MediaType, key: UUID) -> datetime | None:
    query = sql.SQL("select created_on from {} where identifier = %s").format(
        sql.Identifier("public", f"api_{kind}{media_type}")
    )
    found = rows(api, query, [key])
    return found[0]["created_on"] if found else None


def _row_id(api: Connection, media_type: MediaType, key: UUID) -> int | None:
    query = sql.SQL("select id from {} where identifier = %s").format(sql.Identifier("public", media_type))
    found = api.execute(query, [key]).fetchone()
    return int(found[0]) if found else None


def documents(client: Elasticsearch, media_type: MediaType, key: UUID) -> dict[str, Visible]:
    """Return alias → whether a document of the record is found there."""
    own = {"ids": {"values": [str(key)]}}
    found: dict[str, Visible] = {}
    for alias in (media_type, filtered_name(media_type)):
        try:
            if not complete_answer(ask(client.count, index=alias, query=own))["count"]:
                found[alias] = "missing"
                continue
            shown = {"bool": {"filter": [matching(""), own]}}
            found[alias] = (
                "found" if complete_answer(ask(client.count, index=alias, query=shown))["count"] else "mature"
            )
        except NotFoundError:
            found[alias] = "no index"
    return found
