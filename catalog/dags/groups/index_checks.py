"""Checks of an index that is there already, before another one is made from it, or an alias pointed at it."""

from datetime import datetime
from typing import TYPE_CHECKING

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.dags.common.connections import catalog_connection, database_connection, is_configured
from catalog.dags.common.environments import ENVIRONMENTS, PRODUCTION, Environment
from catalog.dags.groups.indexing import indexes
from catalog.dags.groups.refreshes import is_complete, last_count, last_writes
from catalog.data_refresh.refresh_history import made_before, rows_marked_by
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.data_refresh.tables.marks import marked_by

if TYPE_CHECKING:
    from catalog.data_refresh.search.identity import IndexIdentity
    from catalog.data_refresh.search.recount import Recount


def recounted(where: Environment, media_type: MediaType, index: str, uuid: str) -> "Recount | None":
    """Count the documents of an index again; None if the number is explained, or the one before not known."""
    from catalog.data_refresh.search.recount import recount

    if (before := last_count(uuid)) is None:
        return None
    with database_connection(where.api, autocommit=True) as api:
        now = recount(indexes(where.search), api, media_type, index, before.documents, before.since)
    return None if now.explained else now


def refuse_rewritten(
    where: Environment, media_type: MediaType, identity: "IndexIdentity", *, field: str
) -> list[str]:
    """Refuse an index with documents that another program has written since it was counted.

    What others have deleted, `recounted` finds. Nothing is known of the writes to an index that an earlier
    release has counted.

    Each restore of staging's database brings other rows, which explain no document that was made before.

    Args:
        where: The environment of the index.
        media_type: Media type of its documents.
        identity: The index.
        field: Field of the conf that names it.

    Returns:
        What a report says, if the documents could not be compared.

    Raises:
        Refused: It has documents that their rows do not explain.
    """
    from catalog.data_refresh.search.index_writes import changed_by_others

    if not (before := last_writes(identity.uuid)):
        return []
    policy = policy_from(identity.meta.get("tag_policy") or {})
    with database_connection(where.api, autocommit=True) as api:
        if where is not PRODUCTION and _rows_are_others(api, media_type, identity.uuid):
            warning = (
                f"the database of {where.name} has rows of another data refresh than {identity.name}, as "
                "after a restore, so it cannot be told whether another program has written to the index"
            )
            return [warning]
        found = changed_by_others(indexes(where.search), api, media_type, identity.name, policy, before)
    if found:
        raise Refused(f"{field}: {found}. Choose or make another one.")
    return []


def _rows_are_others(api: Connection, media_type: MediaType, uuid: str) -> bool:
    """Return whether a table has rows of another data refresh than when an index was made of it."""
    with catalog_connection(autocommit=True) as catalog:
        marked = rows_marked_by(catalog, uuid)
    return marked is not None and marked != marked_by(api, media_type)


def require_whole(
    where: Environment, media_type: MediaType, index: str, *, field: str
) -> tuple["IndexIdentity", list[str]]:
    """Check that an index from which another one is to be made has the documents that it should have.

    Args:
        where: The environment of the index.
        media_type: Media type that its documents should have.
        index: Name of the index.
        field: Field of the conf that names it.

    Returns:
        The identity of the index, and the warnings of `refuse_rewritten`.

    Raises:
        Fatal: The catalog did not make it.
        Refused: Its documents are of another media type, it was never complete, its tables are not live, or
            another program has written to it since it was counted.
    """
    identity = indexes(where.search).require(index)
    if (there := identity.meta.get("media_type")) != media_type:
        raise Refused(f"{field}: the documents of {index} are of {there}, not of {media_type}.")
    if is_complete(identity.uuid) is False:
        raise Refused(f"{field}: {index} was never complete, or belongs to tables that are not live.")
    warnings = refuse_rewritten(where, media_type, identity, field=field)
    if changed := recounted(where, media_type, index, identity.uuid):
        raise Refused(
            f"{field}: {changed.text}. Copy from another one, or run a data refresh, which replaces it. "
            "If documents may be missing and no alias points at it, first point one at it: "
            f"point_{where.name}_es_alias says what is missing, and counts it again with accept_shrinkage."
        )
    return identity, warnings


def refreshed_since(where: Environment, media_type: MediaType, uuid: str) -> datetime | None:
    """Return when a data refresh has changed the documents since an index was made; None if not.

    Only production has data refreshes; those of staging make another index of the same rows.

    Args:
        where: The environment of the index.
        media_type: Media type of its documents.
        uuid: The engine's uuid of it.
    """
    if where is not PRODUCTION:
        return None
    with catalog_connection(autocommit=True) as catalog:
        return made_before(catalog, uuid, media_type, where.search)


def refuse_outdated(where: Environment, media_type: MediaType, index: str, uuid: str, *, field: str) -> None:
    """Refuse an index that would be live with documents from before a data refresh.

    Args:
        where: The environment of the index.
        media_type: Media type of its documents.
        index: Name of the index, or of the one from which the index to be live is made.
        uuid: The engine's uuid of it.
        field: Field of the conf that names it.

    Raises:
        Refused: A data refresh has changed documents since; what it has deleted would be found again.
    """
    if since := refreshed_since(where, media_type, uuid):
        raise Refused(
            f"{field}: {index} was made before the data refresh of {since:%Y-%m-%d %H:%M}, or from an index "
            "that was: it lacks what that refresh has changed and deleted, and so does any copy of it. Make "
            f"one from the live index: create_filtered_{media_type}_index, or create_new_{where.name}"
            f"_es_index, without an origin; or trigger {media_type}_data_refresh with "
            '{"index_only": true}, which rebuilds both.'
        )


def refuse_foreign_alias(where: Environment, alias: str) -> None:
    """Refuse an alias of the other environment, if both have one engine, as in the local stack.

    Args:
        where: The environment whose alias it should be.
        alias: Its name.

    Raises:
        Refused: A DAG of the other environment has made the index behind it.
    """
    engine = indexes(where.search)
    made_by = engine.meta(alias).get("dag_id")
    for other in ENVIRONMENTS.values():
        if other is where or made_by not in other.dags:
            continue
        if is_configured(other.search) and indexes(other.search).cluster() == engine.cluster():
            raise Refused(
                f"alias: {alias} belongs to {other.name}, which has the same engine; its index was made by "
                f"{made_by}."
            )
