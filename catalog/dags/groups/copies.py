"""Tasks that make a new index from another one, without moving an alias to it."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
from airflow.sdk import Param, get_current_context, task

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.settings import ES_INDEX_THROTTLING_RATE
from catalog.dags.common.conf import END
from catalog.dags.common.connections import database_connection
from catalog.dags.common.environments import Environment
from catalog.dags.common.params import SUFFIX, media_type_param
from catalog.dags.common.progress import Meter, sigterm_flag
from catalog.dags.common.retries import hint
from catalog.dags.common.state import TaskStateCheckpoint
from catalog.dags.common.variables import value_of
from catalog.dags.groups.index_checks import refreshed_since, require_whole
from catalog.dags.groups.indexing import (
    MAX_DURATION,
    indexes,
    indexes_of,
    make_index,
    open_for_search,
    rehearse,
)
from catalog.dags.groups.refreshes import begin_refresh, current_refresh, is_complete, note_index, reach
from catalog.dags.operators.slack import notify
from catalog.data_refresh.refresh import Copy, Plan, Refresh
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.identity import (
    FILTERED_SUFFIX,
    IndexIdentity,
    is_filtered,
    is_stray,
    preflight_prefix,
)
from catalog.moderation.decisions import EVER

log = logging.getLogger(__name__)
_ORIGIN = r"^[a-z0-9][a-z0-9_-]{0,199}" + END


def copy_params(origin: str) -> dict[str, Param]:
    """Return the fields that forms of such DAGs share.

    Args:
        origin: Description of the field `origin`.
    """
    return {
        "media_type": media_type_param(),
        "index_suffix": Param(
            None,
            type=["null", "string"],
            pattern=SUFFIX,
            title="Name",
            description_md="The new index is `<media_type>-<suffix>`. Empty: a new name.",
        ),
        "origin": Param(
            None, type=["null", "string"], pattern=_ORIGIN, title="Origin", description_md=origin
        ),
    }


def begin_copy(
    environment: Environment,
    media_type: MediaType,
    origin: str,
    suffix: str | None,
    copy: Callable[[str, str], Copy],
) -> str:
    """Record, once, which index is copied into which; nothing is created yet. Return the name of the new one.

    Args:
        environment: Where both indexes are.
        media_type: Media type of the documents.
        origin: Index or alias to copy from.
        suffix: End of the name of the new index; None for a unique one.
        copy: Makes the plan of the copy from name and uuid of the origin.

    Raises:
        Refused: The origin is unknown, incomplete, of another media type or not as it was counted, or the new
            name is taken.
    """

    def plan(number: int) -> Plan:
        identity, warnings = _origin(environment, media_type, origin)
        index = identity.name
        name = _new_name(environment, media_type, suffix or f"{number}-{uuid4().hex[:12]}", index)
        planned = copy(index, identity.uuid)
        if since := refreshed_since(environment, media_type, identity.uuid):
            warnings.append(
                f"{index} was made before the data refresh of {since:%Y-%m-%d %H:%M}, or from an index that "
                f"was, so no alias of {environment.name} is pointed at a copy of it"
            )
        for warning in warnings:
            log.warning("%s.", warning)
        planned = msgspec.structs.replace(planned, notes=[*planned.notes, *(f"  - {w}" for w in warnings)])
        return Plan(
            mode="copy",
            media_type=media_type,
            api=environment.api,
            search=environment.search,
            table="",
            index=name,
            aliases={},
            policy=identity.meta.get("tag_policy") or {},
            since=EVER,
            copy=planned,
        )

    rehearse(media_type, [], environment.search, filtered=False)
    with hint("Nothing was created."):
        refresh = begin_refresh(plan)
    return str(refresh.plan.index)


def _origin(environment: Environment, media_type: MediaType, origin: str) -> tuple[IndexIdentity, list[str]]:
    """Return the index to copy from, and warnings about it; raises Refused if it is not one to copy."""
    engine = indexes(environment.search)
    index = engine.resolve_alias(origin) or origin
    if not engine.exists(index):
        raise Refused(f"origin: there is no index or alias {origin}; look for it with GET _cat/indices.")
    return require_whole(environment, media_type, index, field="origin")


def _new_name(environment: Environment, media_type: MediaType, suffix: str, origin: str) -> str:
    """Return the name of the new index; raises Refused if it is taken, or says what is not so.

    What failed runs of this DAG left behind is deleted before.
    """
    engine, name = indexes(environment.search), f"{media_type}-{suffix}"
    if is_filtered(name):
        raise Refused("index_suffix: leave out filtered; it is added if the origin is a filtered index.")
    if name.startswith(preflight_prefix(media_type)):
        raise Refused("index_suffix: indexes of checks, which are deleted, begin with preflight-.")
    name += FILTERED_SUFFIX if is_filtered(origin) else ""
    delete_incomplete(environment, media_type)
    if behind := engine.resolve_alias(name):
        raise Refused(f"index_suffix: {name} is an alias, of {behind}; choose another suffix.")
    if engine.exists(name):
        raise Refused(f"index_suffix: {name} exists already; delete it, or choose another suffix.")
    return name


def delete_incomplete(environment: Environment, media_type: MediaType) -> list[str]:
    """Delete the indexes that failed runs of this DAG left incomplete or unused; return their names."""
    engine, dag_id = indexes(environment.search), get_current_context()["dag_run"].dag_id
    found = {name: engine.identity(name) for name in engine.orphans([dag_id], media_type)}
    return engine.delete(
        name
        for name, index in found.items()
        if index
        and (
            name.startswith(preflight_prefix(media_type))
            or is_stray(index)
            or is_complete(index.uuid) is False
        )
    )


@task(execution_timeout=MAX_DURATION, retries=4)
def copy_documents() -> int:
    """Let the engine copy the documents, and return their number. A killed task waits for its request."""
    from catalog.data_refresh.search.index_copy import CopiedIndex, matching

    refresh = current_refresh("working", "promoted")
    plan, own = refresh.plan, indexes_of(refresh)
    if refresh.stage == "promoted":
        _require_finished(refresh)
        return refresh.counted(plan.index)
    assert plan.copy
    state = TaskStateCheckpoint(get_current_context(), f"copy {refresh.number}")
    documents, uuid, writes = CopiedIndex(
        own.engine,
        plan.index,
        plan.copy,
        lambda: make_index(refresh, plan.index),
        per_second=value_of(ES_INDEX_THROTTLING_RATE),
        attempt=Attempt(
            state.load, state.save, sigterm_flag(), Meter("documents", matching(own.engine, plan.copy))
        ),
    ).run()
    state.clear()
    note_index(refresh, plan.index, uuid, documents, writes=writes)
    return documents


def _require_finished(refresh: Refresh) -> None:
    """Check that a finished index is there, and has its documents; raises Refused or Fatal."""
    from catalog.data_refresh.search.recount import recount

    plan, engine = refresh.plan, indexes(refresh.plan.search)
    engine.require(plan.index, refresh.made(plan.index).uuid)
    documents, since = refresh.recorded_count(plan.index)
    with database_connection(plan.api, autocommit=True) as api:
        now = recount(engine, api, plan.media_type, plan.index, documents, since)
    if not now.explained:
        raise Refused(f"{now.text}. This run does not make it again; trigger a new one.")


def _require_copied(refresh: Refresh, api: Connection) -> None:
    """Check that nobody has written to a new index since it was filled, up to an attempt at moderation.

    Raises:
        Refused: It has other documents.
    """
    from catalog.data_refresh.search.index_writes import contents_of
    from catalog.data_refresh.search.recount import recount

    plan, engine, made = refresh.plan, indexes(refresh.plan.search), refresh.made(refresh.plan.index)
    engine.require(plan.index, made.uuid)
    copied = refresh.counted(plan.index)
    if made.writes:
        found = contents_of(engine, plan.index)
        if found == (copied, made.writes):
            note_index(refresh, plan.index, made.uuid, copied)  # from now on, this task writes to it
            return
        said = f"{plan.index} holds {found.documents:,} documents, and {copied:,} were copied"
    else:
        now = recount(engine, api, plan.media_type, plan.index, copied, EVER)
        if now.explained:
            return
        said = now.text
    raise Refused(
        f"{said}: another program has written to it. Clear copy_documents and all tasks after it: they make "
        "the index again."
    )


@task(execution_timeout=timedelta(hours=12))
def finish_index(copied: int) -> str:
    """Create the replicas, apply the decisions of moderators, and report. No alias points at the index."""
    from catalog.data_refresh.search.index_writes import contents_of

    refresh = current_refresh("working", "promoted")
    plan, own = refresh.plan, indexes_of(refresh)
    assert plan.copy
    if refresh.stage == "working":
        open_for_search(refresh)
        with database_connection(plan.api, autocommit=True) as api:
            _require_copied(refresh, api)
            own.follow_moderation(api, plan.index)
        documents, writes = contents_of(own.engine, plan.index)
        note_index(refresh, plan.index, refresh.made(plan.index).uuid, documents, writes=writes)
        reach(refresh, "promoted")
    else:
        _require_finished(refresh)
        documents = refresh.counted(plan.index)
    fields: dict[str, Any] = {"Documents": f"{documents:,}", "Copied from": f"`{plan.copy.origin}`"}
    if copied > documents:
        fields["Deleted by moderators"] = f"{copied - documents:,}"
    return notify(
        f"{plan.index} created",
        "New index",
        f"`{plan.index}` is complete; no alias points at it.",
        fields=fields,
        lines=plan.copy.notes,
        completion=True,
    )
