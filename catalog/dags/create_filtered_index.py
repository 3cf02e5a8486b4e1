"""Rebuilds the filtered index, which leaves out documents whose text contains a sensitive term.

Run it after a change to the list of terms; a data refresh rebuilds the filtered index anyway.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from airflow.sdk import Param, chain, task

from catalog.core.errors import Fatal, Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.settings import API_DB, SEARCH
from catalog.dags.common.acceptance import accepted_lines
from catalog.dags.common.assets import FILTERED, INDEX
from catalog.dags.common.connections import api_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.environments import PRODUCTION
from catalog.dags.common.params import SUFFIX
from catalog.dags.common.retries import hint
from catalog.dags.common.sensitive_terms import sensitive_terms
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.index_checks import refuse_outdated, require_whole
from catalog.dags.groups.indexing import (
    create_filtered_index,
    delete_old_indexes,
    indexes,
    make_live,
    open_for_search,
    rehearse,
    tag_policy,
)
from catalog.dags.groups.refreshes import begin_refresh, current_refresh, note_found, refuse_lost_decisions
from catalog.dags.operators.slack import notify
from catalog.dags.operators.turns import refuse_conflicts
from catalog.data_refresh.refresh import Plan
from catalog.data_refresh.search.identity import filtered_name, is_filtered
from catalog.data_refresh.search.sensitive import digest_of
from catalog.moderation.decisions import EVER

ORIGIN = "origin_index_suffix"  # field of the conf
DOC = """
{about}

The documents of `{media_type}-<origin_index_suffix>`, or of the index behind the alias `{media_type}` without
a suffix, are copied on the server into `{media_type}-<destination_index_suffix>-filtered`. A term of one word
matches a word of the title, the description or a tag, including tags that the tag policy keeps out of the
document. A term of several words matches as a phrase. An index that was made before the last data refresh is
refused: its copy would be live at once, with records that the refresh has deleted. So is one that was never
complete, that belongs to tables that are not live, or to which another program has written. After the
documents have been counted, the alias `{media_type}-filtered` is moved, and the index behind it is deleted.

The terms come from the HTTP connection `sensitive_terms` or the Variable `SENSITIVE_TERMS_URL`. An empty list
is refused, and so is another one that hides far fewer documents than are hidden now. So is the run if many
decisions of moderators are gone since the last data refresh. `accept_shrinkage` accepts what an earlier run
has reported. Signs within a term only separate words: `c++` also hides `c`. While a data refresh of
{media_type} runs, this DAG fails at once, because the refresh deletes the index to copy from; also while
another DAG creates an index or moves an alias.
"""


@task
def plan_filtered_index(media_type: MediaType, params: Params = GIVEN) -> None:
    """Record which index is copied into which, once; nothing is created yet."""
    rehearse(media_type, [filtered_name(media_type)])
    refresh = begin_refresh(partial(_plan, media_type, params))
    with api_connection(autocommit=True) as api:  # make_live asks again, hours later
        refuse_lost_decisions(refresh, api, begins=True)
    if not (found := indexes().identity(refresh.plan.index)):
        raise Fatal(f"the index {refresh.plan.index} is missing; trigger a new run.")
    note_found(refresh, refresh.plan.index, found.uuid)


def _plan(media_type: MediaType, params: Mapping[str, Any], number: int) -> Plan:
    from catalog.moderation.decisions import moderation_moment

    engine, alias = indexes(), filtered_name(media_type)
    live = engine.resolve_alias(media_type)
    origin = _origin(media_type, params["origin_index_suffix"], live)
    destination = (
        f"{media_type}-{params['destination_index_suffix'] or f'{number}-{uuid4().hex[:12]}'}-filtered"
    )
    if aliases := engine.aliases(destination):
        raise Fatal(f"{destination} is there and {', '.join(aliases)} points at it; choose another suffix.")
    # The live index is kept up by the API; any other may have missed whatever moderators decided.
    with api_connection(autocommit=True) as api:
        since = moderation_moment(api) if origin == live else EVER
    return Plan(
        mode="filtered",
        media_type=media_type,
        api=API_DB,
        search=SEARCH,
        table="",
        index=origin,
        filtered=destination,
        aliases={alias: destination},
        # The documents of the origin were made under its policy.
        policy=engine.meta(origin).get("tag_policy") or msgspec.to_builtins(tag_policy()),
        since=since,
        live={alias: engine.resolve_alias(alias)},
        documents={name: engine.sources(name) for name in (media_type, alias)},
        terms=digest_of(sensitive_terms()),
    )


def _origin(media_type: MediaType, suffix: str | None, live: str | None) -> str:
    """Return the index to copy from; raises Fatal or Refused if no filtered index can be made from it.

    Args:
        media_type: Media type of the documents.
        suffix: End of its name; None for the live index.
        live: The live index; None if there is none.
    """
    from catalog.data_refresh.search.filtered import require_text

    engine, origin = indexes(), f"{media_type}-{suffix}" if suffix else live
    if origin is None or not engine.exists(origin):
        raise Fatal(
            f"there is no index {origin or media_type}; look for it with GET _cat/indices/{media_type}-*."
        )
    engine.require_index(origin)
    if is_filtered(origin):
        raise Refused(f"{ORIGIN}: {origin} lacks sensitive media already; choose one with all documents.")
    identity = engine.require(origin)
    refuse_outdated(PRODUCTION, media_type, origin, identity.uuid, field=ORIGIN)
    require_whole(PRODUCTION, media_type, origin, field=ORIGIN)
    require_text(engine, origin)
    if copied := identity.meta.get("copied_from"):
        raise Fatal(
            f"{origin} was copied from {copied}, maybe with a mapping in which sensitive terms are not "
            f"found; its filtered index might show sensitive media. Copy from {copied}, or trigger the data "
            'refresh with {"index_only": true}.'
        )
    return origin


@task(execution_timeout=timedelta(hours=12))
def promote_filtered_index(media_type: MediaType, filtered: dict[str, int]) -> str:
    """Move the alias and delete the index that was behind it."""
    refresh = current_refresh("working", "promoted")
    with hint("The old filtered index is still live."):
        if refresh.stage == "working":
            open_for_search(refresh)
        make_live(refresh)
        delete_old_indexes(refresh, [f"create_filtered_{media_type}_index"])
    alias, index = next(iter(refresh.plan.aliases.items()))
    return notify(
        f"{alias} replaced",
        "Filtered index",
        f"`{alias}` is `{index}` now: {filtered['documents']:,} documents, {filtered['hidden']:,} hidden.",
        lines=accepted_lines(),
        completion=True,
    )


def filtered_dag(media_type: MediaType) -> None:
    def suffix(title: str, meaning: str) -> Param:
        return Param(None, type=["string", "null"], pattern=SUFFIX, title=title, description_md=meaning)

    with catalog_dag(
        f"create_filtered_{media_type}_index",
        "data_refresh",
        schedule=None,
        doc=DOC.format(media_type=media_type, about=" ".join((__doc__ or "").split())).strip(),
        params={
            "origin_index_suffix": suffix(
                "Origin", f"Copy from `{media_type}-<suffix>`; none: from the index behind the alias."
            ),
            "destination_index_suffix": suffix(
                "Destination", f"Create `{media_type}-<suffix>-filtered`; none: a new name."
            ),
            "accept_shrinkage": Param(
                False,
                type="boolean",
                title="Accept far fewer documents",
                description_md="Promote even if far fewer documents than are live would be shown, found by "
                "their words, or hidden, or if many decisions of moderators are gone; otherwise it fails. "
                "Less than was reported is not accepted.",
            ),
        },
        example={"destination_index_suffix": "with-new-terms"},
        media_types=(media_type,),
        conflicts=(f"{media_type}_data_refresh", *PRODUCTION.upkeep),
    ):
        filtered: Any = create_filtered_index()
        chain(refuse_conflicts(), plan_filtered_index(media_type), filtered)
        promoted = promote_filtered_index.override(inlets=[INDEX[media_type]], outlets=[FILTERED[media_type]])
        promoted(media_type, filtered)


for medium in MEDIA_TYPES:
    filtered_dag(medium)
