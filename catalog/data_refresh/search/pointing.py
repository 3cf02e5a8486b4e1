"""Checks before an alias is pointed at an index that is already there."""

from collections.abc import Sequence
from typing import Any

from elasticsearch import NotFoundError

from catalog.core import loss_limits
from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.data_refresh.refresh import Hidden
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.hidden import hidden_by, revealed
from catalog.data_refresh.search.identity import FILTERED_SUFFIX, IndexIdentity, is_filtered, is_private
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.kinds import kind_of
from catalog.data_refresh.search.mapping import TERMS
from catalog.data_refresh.search.preflight import alias_problems, index_problems
from catalog.data_refresh.search.sensitive import digest_of, sensitive_groups
from catalog.data_refresh.tables.shrinkage import FILTERED, shrunken_alias
from catalog.database.refusals import Finding


def media_type_of(alias: str) -> MediaType:
    """Return the media type with which the name of an alias begins. Raises Refused if there is none."""
    for media_type in MEDIA_TYPES:
        if alias == media_type or alias.startswith(f"{media_type}-"):
            return media_type
    raise Refused(f"alias: {alias!r} does not begin with a media type ({', '.join(MEDIA_TYPES)}).")


def require_target(engine: Indexes, alias: str, index: str) -> IndexIdentity:
    """Check that an alias can be pointed at an index, whatever it contains.

    Args:
        engine: Operations on indexes.
        alias: Name of the alias.
        index: Name of the index.

    Returns:
        The identity of the index.

    Raises:
        Refused: The index is none of this catalog, is of another media type or kind, or is closed, blocked or
            incomplete; or the alias cannot be moved. The message lists everything that is wrong.
    """
    if engine.identity(index) is None and engine.exists(index):
        engine.require_index(index)  # an alias or a data stream has the name
    if (found := engine.identity(index)) is None:
        raise Refused(f"index: there is no index {index}; look for it with GET _cat/indices.")
    problems = _of_identity(found, alias) + alias_problems(engine, alias)
    about: dict[str, Any] = ask(engine.client.indices.get_settings, index=index).body[index]
    unusable = index_problems(index, about["settings"]["index"], f"{alias} cannot be pointed at it")
    problems += unusable or _of_shards(engine, index)
    if problems:
        raise Refused(f"{alias} cannot be pointed at {index}: {'; '.join(problems)}.")
    return found


def _of_identity(identity: IndexIdentity, alias: str) -> list[str]:
    """Return why an index is none that an alias may point at."""
    if not identity.dag_id:
        return [f"the catalog did not create {identity.name} (its mapping has no `_meta`)"]
    problems = []
    wanted, there = media_type_of(alias), identity.meta.get("media_type")
    if there != wanted:
        problems.append(f"its documents are of {there}, the alias is one of {wanted}")
    if is_filtered(alias) and not is_filtered(identity.name):
        problems.append(
            f"it has sensitive media, which {alias} must not show; choose an index …{FILTERED_SUFFIX}"
        )
    if not is_filtered(alias) and is_filtered(identity.name):
        problems.append(
            f"it lacks sensitive media, which {alias} shows; choose one without {FILTERED_SUFFIX}"
        )
    if not any(is_private(other, identity.name) for other in identity.aliases):
        problems.append("it has no alias of its own, to which decisions of moderators could be written")
    return problems


def _of_shards(engine: Indexes, index: str) -> list[str]:
    try:
        status = engine.ask(engine.client.cluster.health, index=index, timeout="1s")["status"]
    except NotFoundError:
        return [f"{index} was deleted at this moment"]
    return ["its status is red: some of its documents cannot be found"] if status == "red" else []


def require_hidden(engine: Indexes, index: str, terms: Sequence[str], *, was_live: bool = False) -> list[str]:
    """Check that a filtered index leaves out what is sensitive now.

    Indexes of earlier releases do not tell their list of terms, so their documents are searched.

    Args:
        engine: Operations on indexes.
        index: Name of the index.
        terms: Sensitive terms.
        was_live: It is the index that was behind the alias before, which may have been lost. The change of
            the list would not have replaced it at once either.

    Returns:
        A warning if it was made with another list of terms, and was live.

    Raises:
        Refused: It was made with another list of terms.
    """
    made_with = engine.meta(index).get(TERMS)
    if made_with == digest_of(terms):
        return []
    shown = sum(engine.count(index, group) for group in sensitive_groups(terms))
    if not (made_with or shown):
        return []
    said = (
        f"{index} was made with another list of sensitive terms; {shown:,} of its documents are sensitive now"
    )
    make = f"create_filtered_{media_type_of(index)}_index"
    if not was_live:
        raise Refused(f"index: {said}. Choose another index, or make one: {make}.")
    until = f"{make} replaces it by one with today's list, and so does the next data refresh"
    return [f"{said}. It is accepted, because the alias pointed at it before; {until}."]


def losses(
    engine: Indexes, alias: str, index: str, search: str, hidden: Hidden | None = None
) -> dict[str, list[Finding]]:
    """Return findings if an index has far fewer documents, or hides far fewer, than the one behind an alias.

    Args:
        engine: Operations on indexes.
        alias: Name of the alias; one that does not exist yet had nothing to lose.
        index: Name of the index.
        search: Airflow connection of the search engine.
        hidden: What the last filtered index has hidden, in case that none is behind its alias any more.

    Returns:
        The findings, by kind of loss.
    """
    before, now = engine.sources(alias), engine.sources(index)
    documents = kind_of("documents", alias, search, index)
    if not is_filtered(alias):
        return {documents: shrunken_alias(alias, before, now, loss_limits.TOTAL)}
    everything = sum(engine.sources(alias.removesuffix(FILTERED_SUFFIX)).values())
    found = {documents: shrunken_alias(alias, before, now, FILTERED)}
    if before:
        hidden = hidden_by(engine, alias, everything - sum(before.values()))
    if hidden:
        then = hidden_by(engine, index, everything - sum(now.values()))
        found[kind_of("hidden documents", alias, search, index)] = revealed(alias, hidden, then)
    return found
