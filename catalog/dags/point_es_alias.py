"""Points an alias of a search engine at another index that is already there."""

import logging
from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import Param, chain, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES
from catalog.dags.common.acceptance import RunJudge, accepted_lines
from catalog.dags.common.assets import FILTERED, INDEX
from catalog.dags.common.conf import END
from catalog.dags.common.connections import catalog_connection, database_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.environments import ENVIRONMENTS, PRODUCTION, Environment
from catalog.dags.common.retries import hint
from catalog.dags.common.sensitive_terms import sensitive_terms
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.index_checks import (
    recounted,
    refuse_foreign_alias,
    refuse_outdated,
    refuse_rewritten,
)
from catalog.dags.groups.indexing import delete_old_index, indexes, make_live, open_for_search
from catalog.dags.groups.refreshes import (
    begin_refresh,
    current_refresh,
    hidden_last,
    is_complete,
    note_index,
    refuse_lost_decisions,
    replan,
)
from catalog.dags.operators.slack import notify
from catalog.dags.operators.turns import refuse_conflicts
from catalog.data_refresh.refresh import Plan
from catalog.data_refresh.refresh_history import last_behind
from catalog.data_refresh.search.identity import is_filtered
from catalog.data_refresh.search.kinds import kind_of
from catalog.database.refusals import Finding
from catalog.moderation.decisions import EVER

log = logging.getLogger(__name__)
_MEDIA = "|".join(MEDIA_TYPES)
ALIAS = rf"^({_MEDIA})(-[a-z0-9][a-z0-9_-]{{0,100}})?{END}"
INDEX_NAME = rf"^({_MEDIA})-[a-z0-9_-]{{1,190}}{END}"
DOC = """
{about}

For the {name} engine (connection `{search}`), for example to try an index that `create_new_{name}_es_index`
has made, or to go back to the index before. The first task refuses an index

- that is missing, closed, blocked or red, that the catalog did not create or never completed, or that belongs
  to a data refresh whose tables are not live;
- that was made before the last data refresh, or from an index that was;
- of another media type than the alias, or with sensitive media for an alias `…-filtered`, or the other way
  round;
- that was made with another list of terms than today's, unless the alias pointed at it last, so that a lost
  alias can be set again;
- to which another program has written since it was last counted: its documents are compared with the API's
  table, unless that has rows of another data refresh, as after a restore of staging's database (the report
  says it then);
- with more documents than when it was last counted, or with fewer, apart from those that moderators have
  deleted since;
- with far fewer documents, of all or of one source, or far fewer hidden ones, than are behind the alias;
- in which the API's search fails, or finds far fewer of some documents than behind the alias, by words of
  their title, description or tags (the report says it if the API does not search the alias);

and any index, if many decisions of moderators are gone since the last data refresh. The conf
`accept_shrinkage` accepts what an earlier run has reported of that, and of fewer documents, but no search
that fails. Nothing has been changed then.

Before the alias is moved, the index gets its replicas, and all decisions that moderators have ever made are
applied to it. The alias is moved in one atomic step; nothing else is. With `delete_old_index`, the index
behind the alias before is deleted, unless another alias points at it. If the alias is at the index already,
the run does nothing.

The run fails at once while another DAG changes indexes of {name}; those wait or fail while it runs. {then}
"""
THEN = {
    "production": (
        "The next data refresh is a full one, moves the alias to its own new index, and deletes this one: to "
        "keep it, pause the data refresh."
    ),
    "staging": "",
}


def _check(where: Environment, alias: str, index: str) -> list[str]:
    """Refuse an index that the alias should not point at, whatever it points at now; return warnings."""
    from catalog.data_refresh.search.findable import is_searched, search_findings
    from catalog.data_refresh.search.pointing import losses, media_type_of, require_hidden, require_target

    engine, judge = indexes(where.search), RunJudge()
    target = require_target(engine, alias, index)
    if is_complete(target.uuid) is False:
        raise Refused(f"index: {index} was never complete, or belongs to tables that are not live.")
    refuse_outdated(where, media_type_of(alias), index, target.uuid, field="index")
    notes = refuse_rewritten(where, media_type_of(alias), target, field="index")
    changed = recounted(where, media_type_of(alias), index, target.uuid)
    if changed and changed.missing < 0:
        raise Refused(f"index: {changed.text}: another program wrote to it. Choose or make another one.")
    if is_filtered(alias):
        with catalog_connection(autocommit=True) as catalog:
            was_live = last_behind(catalog, alias, where.search) == target.uuid
        notes += require_hidden(engine, index, sensitive_terms(), was_live=was_live)
    refuse_foreign_alias(where, alias)
    not_found = search_findings(engine, alias, index)
    if not is_searched(alias):
        notes += [finding.text for finding in not_found]
    counted = [Finding("all", changed.counted, changed.found, changed.text)] if changed else []
    judged = judge(
        {
            kind_of("counted documents", alias, where.search, index): counted,
            **losses(engine, alias, index, where.search, hidden_last(alias, where.search)),
            kind_of("found documents", alias, where.search, index): not_found if is_searched(alias) else [],
        }
    )
    if judged.refused:
        raise Refused(judged.message(f"index: {judged.problems}.", "Choose or make another one."))
    for note in notes:
        log.warning("%s", note)
    return notes


@task
def check_target(environment: str, params: Params = GIVEN) -> None:
    """Check the index and record the plan, once; skipped if the alias points at the index already."""
    from catalog.data_refresh.search.pointing import media_type_of

    where, alias, index = ENVIRONMENTS[environment], params["alias"], params["index"]
    engine, media_type = indexes(where.search), media_type_of(alias)

    def plan(_: int) -> Plan:
        live = engine.resolve_alias(alias)
        if live != index:
            with hint("Nothing was changed."):
                _check(where, alias, index)
        elif engine.hides(alias):
            raise Refused(
                f"alias: {alias} points at {index} already, but has a filter of its own, so that searches do "
                "not see all documents. Make it a plain alias."
            )
        return Plan(
            mode="alias",
            media_type=media_type,
            api=where.api,
            search=where.search,
            table="",
            index=index,
            filtered=index if is_filtered(alias) else "",
            aliases={alias: index},
            policy=engine.meta(index).get("tag_policy") or {},
            since=EVER,
            live={alias: live},
            documents={alias: engine.sources(alias)},
        )

    refresh = begin_refresh(plan)
    if refresh.stage == "working":
        if refresh.plan.live == refresh.plan.aliases:
            raise AirflowSkipException(f"{alias} points at {index} already; nothing to do.")
        with hint("Nothing was changed."), database_connection(where.api, autocommit=True) as api:
            refuse_lost_decisions(refresh, api, begins=True)  # make_live asks again
    if index not in refresh.indexes:
        note_index(refresh, index, engine.require(index).uuid, engine.count(index))


@task(execution_timeout=timedelta(hours=12))
def point_alias(environment: str) -> str:
    """Apply decisions of moderators, and move the alias."""
    refresh = current_refresh("working", "promoted")
    with hint("The alias is where it was."):
        if refresh.stage == "working":
            [(alias, index)] = refresh.plan.aliases.items()
            # Index and alias may have changed since the first task has checked them. What the report says of
            # them is kept: once the alias is moved, they are not compared any more.
            notes = _check(ENVIRONMENTS[environment], alias, index)
            refresh = replan(refresh, msgspec.structs.replace(refresh.plan, notes=notes))
            open_for_search(refresh)
        make_live(refresh)
    [(alias, index)] = refresh.plan.aliases.items()
    before = sum(refresh.plan.documents[alias].values())
    return notify(
        f"{alias} moved",
        "Search alias",
        f"`{alias}` is `{index}` now: {refresh.counted(index):,} documents. It was "
        f"`{refresh.plan.live[alias] or 'no index'}`: {before:,}.",
        lines=[*accepted_lines(), *(f"  - {note}" for note in refresh.plan.notes)],
        completion=True,
    )


def alias_dag(environment: Environment) -> None:
    dag_id = f"point_{environment.name}_es_alias"
    with catalog_dag(
        dag_id,
        "database",
        schedule=None,
        doc=DOC.format(
            about=__doc__, name=environment.name, search=environment.search, then=THEN[environment.name]
        ).strip(),
        params={
            "alias": Param(
                type="string",
                pattern=ALIAS,
                title="Alias",
                description_md="The alias to move, such as `image` or `audio-filtered`. One that does not "
                "exist is created; its name begins with the media type.",
            ),
            "index": Param(
                type="string",
                pattern=INDEX_NAME,
                title="Index",
                description_md="The index at which it will point (`GET _cat/indices`): of the same media "
                "type, and `…-filtered` if the alias is.",
            ),
            "delete_old_index": Param(
                False,
                type="boolean",
                title="Delete the old index",
                description_md="Delete the index that the alias pointed at before, unless another alias "
                "points at it.",
            ),
            "accept_shrinkage": Param(
                False,
                type="boolean",
                title="Accept far fewer documents",
                description_md="Move the alias even if far fewer documents than before would be there, "
                "found by their words, or hidden as sensitive, if the index has lost some since it was "
                "counted, or if many decisions of moderators are gone. Less than was reported is not "
                "accepted.",
            ),
        },
        example={"alias": "image-filtered", "index": "image-with-new-terms-filtered"},
        media_types=MEDIA_TYPES,
        conflicts=environment.conflicts(dag_id),
    ):
        written: list[Any] = [*INDEX.values(), *FILTERED.values()] if environment is PRODUCTION else []
        moved = point_alias.override(outlets=written)(environment.name)
        chain(refuse_conflicts(), check_target(environment.name), moved, delete_old_index())


for environment in ENVIRONMENTS.values():
    alias_dag(environment)
