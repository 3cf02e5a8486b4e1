"""The aliases of the search engine: where they point, what is wrong with that, and what is behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.media import SHOWN, MediaType
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.identity import filtered_name, is_filtered
from catalog.data_refresh.search.indexes import Indexes, SeveralIndexes

SHRUNK = 0.2  # share of documents that disappeared
NOTICEABLE = 100  # documents; smaller losses are not a finding, unless none is left


class Alias(msgspec.Struct, frozen=True):
    """An alias of the search engine.

    Attributes:
        name: Name of the alias.
        media_type: Media type of its documents.
        index: Index to which it points; None if it does not exist, or points at several.
        documents: Number of documents.
        size: Bytes on disk, without replicas.
        policy: Digest of the tag policy of the documents; "" if it is unknown.
        problem: What is wrong with where it points; "" otherwise.
        uuid: The engine's uuid of the index.
    """

    name: str
    media_type: MediaType
    index: str | None
    documents: int = 0
    size: int = 0
    policy: str = ""
    problem: str = ""
    uuid: str = ""

    def fault(self, *, promoted: bool) -> str:
        """Return what is wrong with the alias; "" if nothing is.

        Args:
            promoted: A refresh of the media type has been promoted, so the alias must exist.
        """
        if not self.problem and self.index is None and promoted:
            return "no index is behind it, although a refresh was promoted; nothing is found"
        return self.problem


class Live(msgspec.Struct, frozen=True):
    """What the search engine serves.

    Attributes:
        aliases: Aliases of the API, and those of full staging indexes if they exist.
        documents: Media type → source → number of documents behind the main alias; without the media types
            whose alias points at several indexes.
    """

    aliases: list[Alias]
    documents: dict[MediaType, dict[str, int]]


def live(client: Elasticsearch, media_types: Sequence[MediaType] = SHOWN) -> Live:
    """Return what the engine serves.

    Args:
        client: Client of the engine.
        media_types: Whose aliases and documents.

    Raises:
        Retry: The engine does not answer.
    """
    search, found = Indexes(client, patience=0), read_aliases(client, media_types, measured=True)
    lost = {alias.name for alias in found if alias.problem and not alias.index}
    return Live(found, {m: search.sources(m) for m in media_types if m not in lost})


def read_aliases(
    client: Elasticsearch, media_types: Sequence[MediaType] = SHOWN, *, measured: bool = False
) -> list[Alias]:
    """Return the aliases of media types: those of the API, and those of full staging indexes that exist.

    Args:
        client: Client of the engine.
        media_types: The media types.
        measured: With the number and the size of their documents, which a closed index does not tell.

    Raises:
        Retry: The engine does not answer.
    """
    search, found = Indexes(client, patience=0), list[Alias]()
    for media_type in media_types:
        for name in (media_type, filtered_name(media_type), f"{media_type}-full"):
            alias = _alias(search, name, media_type, measured=measured)
            if alias.index or alias.problem or not name.endswith("-full"):
                found.append(alias)
    return found


def _alias(search: Indexes, name: str, media_type: MediaType, *, measured: bool) -> Alias:
    try:
        index = search.resolve_alias(name)
    except SeveralIndexes as several:
        return Alias(name, media_type, None, problem=str(several))
    if index is None:
        return Alias(name, media_type, None)
    identity = search.identity(index)
    meta = identity.meta if identity else {}
    return Alias(
        name,
        media_type,
        index,
        search.count(name) if measured else 0,
        _size(search.client, index) if measured else 0,
        str(meta.get("tag_policy_digest", "")),
        _misdirected(search, name, media_type, index, meta),
        identity.uuid if identity else "",
    )


def lost_many(before: int, now: int) -> bool:
    """Return whether enough documents are missing to be a finding."""
    return before - now >= max(NOTICEABLE, SHRUNK * before)


def loss(alias: Alias, counted: int, documents: int) -> str:
    """Say how many documents of an alias are missing; "" if there are not many.

    Args:
        alias: The alias.
        counted: Number of documents that was recorded when its index was counted last.
        documents: Their number now.
    """
    if not lost_many(counted, documents) and (documents or not counted):
        return ""
    return f"{documents:,} documents are searched, {counted:,} when {alias.index} was counted"


def _misdirected(
    search: Indexes, name: str, media_type: MediaType, index: str, meta: Mapping[str, Any]
) -> str:
    """Say what is wrong with the index behind an alias; "" if nothing is."""
    filtered = is_filtered(name)
    if (of := meta.get("media_type", media_type)) != media_type:
        return f"the alias points at {index}, whose documents are of {of}."
    if filtered and media_type in search.aliases(index):
        return f"the alias points at {index}, as {media_type} does, so sensitive media are not left out."
    if filtered and not is_filtered(index):
        return (
            f"the alias points at {index}, which is not a filtered index, so that sensitive media are found."
        )
    if not filtered and is_filtered(index):
        return f"the alias points at {index}, a filtered index, so that media are not found."
    if search.hides(name):
        return f"the alias has a filter of its own, so that not all documents of {index} are found."
    return ""


def _size(client: Elasticsearch, index: str) -> int:
    try:
        stats = ask(client.indices.stats, index=index, metric="store")
    except NotFoundError:
        return 0
    return int(stats["_all"]["primaries"]["store"]["size_in_bytes"])
