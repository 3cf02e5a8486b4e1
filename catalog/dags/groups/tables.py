"""Tasks of a data refresh on the API's tables: its plan, the copy, the indexes, and the promotion."""

import logging
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.settings import (
    API_DB,
    DATA_REFRESH_COPY_TASKS,
    DATA_REFRESH_FULL_AFTER_DAYS,
    DATA_REFRESH_LIMIT,
    DATA_REFRESH_MOST_CHANGED,
)
from catalog.dags.common.acceptance import RunJudge
from catalog.dags.common.assets import API, note_written
from catalog.dags.common.connections import api_connection, catalog_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.progress import Meter, sigterm_flag
from catalog.dags.common.retries import hint
from catalog.dags.common.sensitive_terms import sensitive_terms, unchanged_terms
from catalog.dags.common.variables import limit_of, value_of
from catalog.dags.groups.indexing import MAX_DURATION, indexes, require_complete, tag_policy
from catalog.dags.groups.refreshes import (
    begin_refresh,
    current_refresh,
    judge_decisions,
    note_found,
    reach,
    refuse_lost_decisions,
    removed_by_checks,
    replan,
)
from catalog.dags.operators.turns import holding_turn
from catalog.data_refresh.refresh import Plan, Refresh
from catalog.data_refresh.refresh_history import last_decisions
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.apply import COPIED_COMPLETELY, apply_changes
from catalog.data_refresh.tables.changes import TooManyChanges
from catalog.data_refresh.tables.changes_copy import ChangesCopy
from catalog.data_refresh.tables.copy import TABLES, TableCopy
from catalog.data_refresh.tables.index_building import build_indexes as build
from catalog.data_refresh.tables.marks import mark
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.promotion import drop_leftovers, promote
from catalog.data_refresh.tables.ranges import sessions
from catalog.data_refresh.tables.shape import check_shape
from catalog.data_refresh.tables.shrinkage import refuse_shrinkage, shrinkage
from catalog.database.estimates import analyzed_rows

log = logging.getLogger(__name__)
SESSION = "session {{ task.op_kwargs.session }}"


@task(task_id="begin_refresh")
def begin(media_type: MediaType, params: Params = GIVEN) -> list[int]:
    """Record the plan of the refresh, once for the run, whatever is cleared later.

    Returns:
        The numbers of the tasks that copy the tables and create their indexes together.
    """
    from catalog.data_refresh.modes import choose, full_plan, index_plan

    def plan(number: int) -> Plan:
        engine, policy, terms = indexes(), tag_policy(), sensitive_terms()
        with catalog_connection(autocommit=True) as catalog, api_connection(autocommit=True) as api:
            before = last_decisions(catalog, media_type, API_DB)
            judge_decisions(api, media_type, API_DB, before, newest=True)
            if params["index_only"]:
                return index_plan(api, engine, media_type, number, policy, terms)
            return choose(
                params["mode"],
                full_plan(catalog, api, engine, media_type, number, policy, terms),
                catalog,
                api,
                engine,
                number=number,
                limit=limit_of(DATA_REFRESH_LIMIT),
                full_after=timedelta(days=value_of(DATA_REFRESH_FULL_AFTER_DAYS)),
            )

    refresh = begin_refresh(plan)
    log.info("mode %s%s", refresh.plan.mode, f": {refresh.plan.reason}" if refresh.plan.reason else "")
    if refresh.plan.previous:
        for alias, uuid in refresh.plan.previous.indexes.items():
            note_found(refresh, refresh.plan.aliases[alias], uuid)
    if refresh.plan.mode == "index_only":
        return [1]
    with catalog_connection(autocommit=True) as catalog:
        number = sessions(catalog, media_type, most=value_of(DATA_REFRESH_COPY_TASKS))
    return list(range(1, number + 1))


@task(map_index_template=SESSION)
def copy_tables(media_type: MediaType, session: int, params: Params = GIVEN) -> list[dict[str, Any]]:
    """Copy each table, or its changed records; skipped with `index_only`.

    Returns:
        Progress of the copies; it is not done while other sessions are still copying.
    """
    refresh = current_refresh("working")
    if params["index_only"]:
        raise AirflowSkipException("index_only: the live tables stay.")
    if refresh.plan.mode == "incremental":
        if session > 1:
            return []  # the changes are read in one snapshot, by the first session
        try:
            return _copy_changes(media_type, refresh)
        except TooManyChanges as error:
            if params["mode"] == "incremental":
                raise Refused(
                    f"mode: {error}, and DATA_REFRESH_MOST_CHANGED allows no more; trigger a new run with "
                    "the mode full."
                ) from None
            refresh = _continue_full(media_type, refresh, str(error))
    counts, should_stop, limit = [], sigterm_flag(), limit_of(DATA_REFRESH_LIMIT)
    judge = RunJudge()
    with catalog_connection(autocommit=True) as catalog, api_connection(autocommit=True) as api:
        for table in TABLES[media_type]:
            meter = Meter(f"rows of {table}", analyzed_rows(catalog, table) or 0)

            def report(copied: TableProgress, meter: Meter = meter) -> None:
                meter(copied.rows)

            copied = TableCopy(
                catalog,
                api,
                table,
                refresh.identity,
                expected=refresh.plan.shapes[table],
                limit=limit,
                report=report,
                should_stop=should_stop,
            ).run()
            counts.append(msgspec.to_builtins(copied))
            log.info("%s", copied)
        if copied.done:
            refuse_shrinkage(shrinkage(api, TABLES[media_type]), judge)
    return counts


def _copy_changes(media_type: MediaType, refresh: Refresh) -> list[dict[str, Any]]:
    """Copy the changed records of each table and return the counts."""
    from catalog.data_refresh.modes import most_changes
    from catalog.data_refresh.search.changed_documents import count_documents

    counts, previous, should_stop = [], refresh.plan.previous, sigterm_flag()
    assert previous is not None
    with catalog_connection(autocommit=True) as catalog, api_connection(autocommit=True) as api:
        for table in TABLES[media_type]:
            values = (catalog, api, table, refresh.identity)
            expected = refresh.plan.shapes[table]
            if table in COPIED_COMPLETELY:
                copied = TableCopy(*values, expected=expected, should_stop=should_stop).run()
            else:
                job = ChangesCopy(*values, expected=expected, should_stop=should_stop)
                most = most_changes(analyzed_rows(api, table) or 0, value_of(DATA_REFRESH_MOST_CHANGED))
                copied = job.copy(previous.horizon, rejected=previous.rejected, most=most)
            counts.append(msgspec.to_builtins(copied))
            log.info("%s", copied)
        engine = indexes()
        replaced = {
            alias: count_documents(api, engine, media_type, index)
            for alias, index in refresh.plan.aliases.items()
        }
    replan(refresh, msgspec.structs.replace(refresh.plan, replaced=replaced))
    return counts


def _continue_full(media_type: MediaType, refresh: Refresh, reason: str) -> Refresh:
    """Make an incremental refresh a full one."""
    from catalog.data_refresh.modes import full_instead

    log.info("a full refresh instead: %s", reason)
    with api_connection(autocommit=True) as api:
        drop_leftovers(api, TABLES[media_type])
    return replan(refresh, full_instead(refresh.plan, refresh.number, reason))


@task(execution_timeout=MAX_DURATION, map_index_template=SESSION)
def build_indexes(media_type: MediaType, session: int) -> None:
    """Create the indexes and constraints of the copied tables, together with the other sessions."""
    refresh = current_refresh("working")
    if refresh.plan.mode == "incremental":
        raise AirflowSkipException("incremental: the live tables keep their indexes.")
    shapes = refresh.plan.shapes
    with api_connection(autocommit=True) as api:
        check_shape(api, TABLES[media_type], shapes)
        for table in TABLES[media_type]:
            if not build(api, table, log.info, expected=shapes):
                log.info("%s: another task is still creating an index", table)


@task(trigger_rule="none_failed")
def promote_tables(media_type: MediaType, params: Params = GIVEN) -> dict[str, int] | dict[str, Any]:
    """Exchange the tables and return the numbers of deleted orphans by foreign key; not with `index_only`.

    An incremental refresh changes the live tables instead, and returns the numbers of changes by table.
    """
    refresh = current_refresh("working", "tables")
    if params["index_only"]:
        raise AirflowSkipException("index_only: the live tables stay.")
    if refresh.plan.mode == "incremental":
        return _apply(media_type, refresh)
    return _exchange(media_type, refresh)


def _ask_for_decisions(refresh: Refresh, api: Connection) -> None:
    """Refuse to make tables live without many of moderators' decisions, unless an attempt has done it."""
    live = mark(api, refresh.plan.media_type)
    if refresh.stage == "working" and (live is None or live.number != refresh.number):
        refuse_lost_decisions(refresh, api)


def _apply(media_type: MediaType, refresh: Refresh) -> dict[str, Any]:
    """Change the live tables, and return the numbers of changes by table."""
    judge = RunJudge()
    if refresh.stage == "working":  # before the live tables change, whose documents need the list
        unchanged_terms(refresh.plan.terms)
    with api_connection(autocommit=True) as api, hint("The tables were not changed."), holding_turn():
        _ask_for_decisions(refresh, api)
        own = {table: progress.own_columns(api, table) for table in TABLES[media_type]}
        applied = apply_changes(
            api,
            TABLES[media_type],
            refresh.number,
            own,
            expected=refresh.plan.shapes,
            judge=judge,
            why=partial(removed_by_checks, refresh),
        )
    reach(refresh, "tables")
    log.info("changed rows, also if an earlier attempt has changed them: %s", applied or "not known")
    changes = {
        name: sum(getattr(one, name) for one in applied.values())
        for name in ("inserted", "updated", "deleted")
    }
    if any(changes.values()) or not applied:
        note_written(API[media_type], mode=refresh.plan.mode, refresh=refresh.number, **changes)
    return msgspec.to_builtins(applied)  # type: ignore[no-any-return]


def _exchange(media_type: MediaType, refresh: Refresh) -> dict[str, int]:
    """Exchange the tables, and return the numbers of deleted orphans by foreign key."""
    judge = RunJudge()
    with api_connection(autocommit=True) as api, hint("The old tables are still live."):
        require_complete(refresh)
        with holding_turn():
            _ask_for_decisions(refresh, api)
            promoted = promote(
                api,
                TABLES[media_type],
                refresh.identity,
                expected=refresh.plan.shapes,
                judge=judge,
                number=refresh.number,
            )
        reach(refresh, "tables")
    log.info("rows whose view counts had changed since they were copied: %s", promoted.carried)
    note_written(API[media_type], mode=refresh.plan.mode, refresh=refresh.number)
    orphans: dict[str, int] = promoted.orphans
    return orphans
