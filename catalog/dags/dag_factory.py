"""The factory of all DAGs: ids, owners, tags, schedules, retries, timeouts, callbacks, documentation.

Each DAG is entered in REGISTRY, which the generated documentation and the guards of conflicting DAGs read.
"""

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from airflow.sdk import (  # type: ignore[attr-defined]  # the stub lacks three of the exported names
    DAG,
    AsyncCallback,
    Context,
    CronDataIntervalTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    get_parsing_context,
)
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.airflow_names import HELD, SKIPPED
from catalog.core.settings import (
    CATCHUP_ENABLED,
    CONFIGURATION_OVERRIDES,
    DEFAULT_RETRY_COUNT,
    DEFAULT_RETRY_DELAY,
    HELD_SCHEDULES,
    OWNER_LINKS,
)
from catalog.dags.common.assets import begin_without_events
from catalog.dags.common.commits import refuse_other_commit
from catalog.dags.common.conf import check_conf
from catalog.dags.common.context import state_of, task_states
from catalog.dags.common.documentation import conf_example, conf_table
from catalog.dags.common.retries import CatalogRetryPolicy
from catalog.dags.common.settings import environment, when_parsed
from catalog.dags.common.variables import complain_of_parsing, value_of
from catalog.dags.operators.slack import alert_on_failure, alert_on_late_run, alert_on_run_failure
from catalog.dags.operators.watcher import watch

# Kind → owner: who looks after the DAGs of a family. The setting OWNER_LINKS says how to reach them.
OWNERS = {
    "provider": "ingestion",
    "provider-reingestion": "ingestion",
    "oauth": "ingestion",
    "popularity_refresh": "search",
    "data_refresh": "search",
    "database": "database",
    "data_normalization": "database",
    "other": "database",
    "maintenance": "operations",
}


class DagSpec(msgspec.Struct, frozen=True):
    """Properties of a DAG that the generated documentation and the guards of conflicting DAGs use.

    Attributes:
        dag_id: Its id.
        kind: The section of DAGs.md that lists it; also its first tag.
        schedule: The schedule as it is shown; None for a manual DAG.
        text: Its documentation, in Markdown, without `configuration` and `example`.
        configuration: The table of its conf keys.
        example: A command that triggers it.
        dated: True if a run covers a day.
        media_types: The media types that it reads or writes.
        conflicts: Ids of DAGs that must not run beside it.
    """

    dag_id: str
    kind: str
    schedule: str | None
    text: str
    configuration: str = ""
    example: str = ""
    dated: bool = False
    media_types: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


REGISTRY: dict[str, DagSpec] = {}


@contextmanager
def catalog_dag(
    dag_id: str,
    kind: str,
    *,
    schedule: str | None,
    doc: str,
    tags: tuple[str, ...] = (),
    params: Mapping[str, Param] | None = None,
    example: Mapping[str, object] | None = None,
    intervals: bool = False,
    dated: bool = False,
    catchup: bool = False,
    media_types: tuple[str, ...] = (),
    start_date: date = date(2019, 1, 15),
    max_active_runs: int = 1,
    max_active_tasks: int = 1,
    dagrun_timeout: timedelta | None = None,
    conflicts: tuple[str, ...] = (),
) -> Iterator[DAG]:
    """Declare a DAG; its tasks are declared inside the `with`. Adds a watcher and applies overrides.

    Args:
        dag_id: Its id.
        kind: Its first tag, and the section of DAGs.md that lists it; `other` adds no tag. It determines the
            owner.
        schedule: A cron expression or preset, in UTC; None for a manual DAG.
        doc: Its documentation, in Markdown.
        tags: Additional tags.
        params: Fields of its trigger form; other keys of a conf are refused.
        example: A conf for the command at the end of the documentation; `{}` for a command without conf.
        intervals: Give each run the interval of the schedule before it; a plain schedule has no interval in
            Airflow 3.
        dated: A run covers a day.
        catchup: Catch up from `start_date` if the Variable CATCHUP_ENABLED is set.
        media_types: The media types that it reads or writes; each is a tag.
        start_date: First day of its schedule.
        max_active_runs: Maximum number of concurrent runs.
        max_active_tasks: Maximum number of concurrent tasks of a run.
        dagrun_timeout: Time after which a run fails.
        conflicts: Ids of DAGs that must not run beside it.

    Raises:
        OtherCommit: The DAG file comes from a Git bundle whose commit is not that of the installed package.
    """
    _refuse_other_commit()
    params = dict(params or {})
    spec = DagSpec(
        dag_id,
        kind,
        schedule,
        doc,
        conf_table(params),
        conf_example(dag_id, example),
        dated,
        media_types,
        conflicts,
    )
    REGISTRY[dag_id] = spec
    timetable: Any = (
        CronDataIntervalTimetable(schedule, timezone="UTC") if schedule and intervals else schedule
    )
    with DAG(
        dag_id,
        schedule=timetable,
        start_date=datetime(start_date.year, start_date.month, start_date.day, tzinfo=UTC),
        catchup=catchup and when_parsed(CATCHUP_ENABLED),
        is_paused_upon_creation=schedule is not None,  # a triggered run of a paused DAG stays queued
        max_active_runs=max_active_runs,
        max_active_tasks=max_active_tasks,
        dagrun_timeout=dagrun_timeout,
        on_failure_callback=[alert_on_run_failure],
        deadline=[_deadline(dagrun_timeout)],
        render_template_as_native_obj=True,
        tags=[*([] if kind == "other" else [kind]), *tags, *media_types],  # the section "other" has no tag
        params=params,
        owner_links={
            owner: link for owner, link in environment(OWNER_LINKS).items() if owner == OWNERS[kind]
        },
        doc_md="\n\n".join(part for part in (spec.text, spec.configuration, spec.example) if part),
        default_args=_default_args(OWNERS[kind]),
    ) as dag:
        yield dag
        watch(dag)
    _override_timeouts(dag)
    _store_results_once(dag)


def _store_results_once(dag: DAG) -> None:
    """Keep Airflow from storing each key of a result also as an XCom of its own, each by a request."""
    for task in dag.tasks:
        if getattr(task, "multiple_outputs", False):  # inferred from the type that the function returns
            task.multiple_outputs = False  # type: ignore[union-attr]


def _default_args(owner: str) -> dict[str, Any]:
    return {
        "owner": owner,
        "retries": environment(DEFAULT_RETRY_COUNT),
        "retry_delay": timedelta(seconds=environment(DEFAULT_RETRY_DELAY)),
        "execution_timeout": timedelta(hours=1),
        "retry_policy": CatalogRetryPolicy(),
        "on_failure_callback": [alert_on_failure],
        "on_skipped_callback": [note_skipped],
        "pre_execute": before_task,
    }


def note_skipped(context: Context) -> None:
    """Note that a task has skipped itself: when its run is cleared, it need not run again for that."""
    context["ti"].xcom_push(SKIPPED, context["ti"].try_number)


def is_parsed_for(dag_id: str) -> bool:
    """Return False if a process parses a file only for the task of another DAG.

    Each task parses the file of its DAG. In a file of many DAGs, the others need not be made for that.
    """
    return get_parsing_context().dag_id in (None, dag_id)


def _refuse_other_commit() -> None:
    """Check the DAG file being parsed, which is the nearest module on the stack."""
    for frame, _ in traceback.walk_stack(None):
        if frame.f_code.co_name == "<module>":
            refuse_other_commit(frame.f_code.co_filename)
            return


def _deadline(dagrun_timeout: timedelta | None) -> DeadlineAlert:
    """Alert on a run that exceeds the average of the last ten by an hour, or by 5 % of its timeout."""
    floor = max(timedelta(hours=1), (dagrun_timeout or timedelta()) / 20)
    return DeadlineAlert(
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=3),
        interval=floor,
        name="late",
        callback=AsyncCallback(
            alert_on_late_run, kwargs={"floor": f"{floor.total_seconds() / 3600:.1f} hours"}
        ),
    )


def before_task(context: Context) -> None:
    """Report malformed settings, skip runs of held schedules, check the conf in first tasks; see `assets`."""
    complain_of_parsing()
    skip_when_held(context)
    if not context["task"].upstream_task_ids:
        check_conf(context["dag_run"].conf, context["dag"].params)
    begin_without_events(context)


def skip_when_held(context: Context) -> None:
    """Skip the tasks of scheduled runs of DAGs that the Variable HELD_SCHEDULES lists, if they begin now.

    A triggered run needs its DAG unpaused, and unpausing also starts the schedule's last interval. `./just
    trigger` and the demo therefore hold the schedule while they run, so that no full pull from a live API
    starts beside them. A run that has done something goes on: without the rest of it, what is done would be
    lost under a run that ends as success.
    """
    run = context["dag_run"]
    if getattr(run.run_type, "value", run.run_type) != "scheduled":
        return
    reason = value_of(HELD_SCHEDULES).get(run.dag_id)
    if reason and context["ti"].try_number == 1 and not _has_begun(context):
        context["ti"].xcom_push(HELD, reason)
        raise AirflowSkipException(f"this scheduled run is held by HELD_SCHEDULES: {reason}")


def _has_begun(context: Context) -> bool:
    """Return whether a task of the run has ended, or has been tried, without being skipped.

    Marking a run as success also marks its running tasks. The state of the run tells such a mark from work.
    It is read after the tasks' states, because the mark changes both at a time.
    """
    worked = ("success", "failed", "up_for_retry", "up_for_reschedule", "deferred")
    if not any(state in worked for state in task_states(context).values()):
        return False
    run = context["dag_run"]
    return state_of(context["ti"], run.dag_id, run.run_id) == "running"


def _override_timeouts(dag: DAG) -> None:
    """Apply the first entry of CONFIGURATION_OVERRIDES whose pattern is found in a task's id."""
    entries = when_parsed(CONFIGURATION_OVERRIDES).get(dag.dag_id, [])
    for operator in dag.tasks if entries else ():
        entry = next((e for e in entries if re.search(e.task_id_pattern, operator.task_id)), None)
        if entry:
            operator.execution_timeout = entry.limit
