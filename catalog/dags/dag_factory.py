"""The one place that knows how our DAGs are made: ids, tags, schedules, retries, time-outs, callbacks, documentation, catch-up.

Each DAG made here is entered in REGISTRY, which documentation, guards and dashboard read.
"""

import json
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task
from airflow.sdk.bases.operator import BaseOperator
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.settings import (
    CATCHUP_ENABLED,
    CONFIGURATION_OVERRIDES,
    DEFAULT_RETRY_COUNT,
    DEFAULT_RETRY_DELAY,
    HELD_SCHEDULES,
)
from catalog.dags.operators.commits import refuse_other_commit
from catalog.dags.operators.conf import check_conf
from catalog.dags.operators.slack import (
    UPSTREAM_FAILED,
    alert_on_failure,
    alert_on_late_run,
    alert_on_run_failure,
)
from catalog.dags.operators.variables import complain_of_parsing, environment, value_of, when_parsed

CONCLUSION = "conclude"


class DagSpec(msgspec.Struct, frozen=True):
    """What documentation and guards need to know of a DAG.

    kind: the raw tag that sorts it; schedule: as shown, None for manual ones; text, configuration, example: the parts of its documentation.
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
    dag_id: str, kind: str, *, schedule: str | None, doc: str, tags: tuple[str, ...] = (), params: Mapping[str, Param] | None = None,
    example: Mapping[str, Any] | None = None, intervals: bool = False, dated: bool = False, catchup: bool = False,
    media_types: tuple[str, ...] = (), start_date: date = date(2019, 1, 15), max_active_runs: int = 1, max_active_tasks: int = 1,
    dagrun_timeout: timedelta | None = None, conflicts: tuple[str, ...] = (),
) -> Iterator[DAG]:  # fmt: skip
    """A DAG as all of ours are. Tasks are declared inside the `with`; at its end, overrides are applied and the conclusion is added.

    kind: the first tag. intervals: a run covers the schedule's interval before it (a plain schedule has none in Airflow 3).
    example: conf shown at the end of the doc. catchup: follow the Variable CATCHUP_ENABLED instead of never catching up.
    Raises OtherCommit in a file that a Git bundle brought and that does not belong to the installed package.
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
        is_paused_upon_creation=schedule is not None,  # a paused DAG leaves a triggered run queued for ever
        max_active_runs=max_active_runs,
        max_active_tasks=max_active_tasks,
        dagrun_timeout=dagrun_timeout,
        on_failure_callback=[alert_on_run_failure],
        deadline=[_deadline(dagrun_timeout)],
        render_template_as_native_obj=True,
        tags=[*([] if kind == "other" else [kind]), *tags],  # what has no type has no tag
        params=params,
        doc_md="\n\n".join(part for part in (spec.text, spec.configuration, spec.example) if part),
        default_args={
            "owner": "data-eng-admin",
            "retries": environment(DEFAULT_RETRY_COUNT),
            "retry_delay": timedelta(seconds=environment(DEFAULT_RETRY_DELAY)),
            "execution_timeout": timedelta(hours=1),
            "on_failure_callback": [alert_on_failure],
            "pre_execute": before_task,
        },
    ) as dag:
        yield dag
        _conclude(dag)
    _override_timeouts(dag)


def _refuse_other_commit() -> None:
    """The file being parsed is the nearest on the stack that is executed as a module."""
    for frame, _ in traceback.walk_stack(None):
        if frame.f_code.co_name == "<module>":
            refuse_other_commit(frame.f_code.co_filename)
            return


def _deadline(dagrun_timeout: timedelta | None) -> DeadlineAlert:
    """A run is late when it takes longer than the average of the last ten by an hour, or by a twentieth of what it may take at most."""
    floor = max(timedelta(hours=1), (dagrun_timeout or timedelta()) / 20)
    return DeadlineAlert(
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=3), interval=floor, name="late",
        callback=AsyncCallback(alert_on_late_run, kwargs={"floor": f"{floor.total_seconds() / 3600:.1f} hours"}),
    )  # fmt: skip


def _conclude(dag: DAG) -> None:
    """A last task that fails when any task of the run failed: reports run after failures and would turn the run green.

    It is tried again when it is killed, or a complete run would be red; its own verdict is final.
    """
    leaves = [t for t in dag.tasks if not t.downstream_task_ids]
    if len(dag.tasks) < 2 or not leaves:
        return

    @task(task_id=CONCLUSION, trigger_rule="all_done", retries=4, retry_delay=timedelta(seconds=30))
    def conclude(ti: Any = None, dag_run: Any = None) -> None:
        states = ti.get_task_states(dag_run.dag_id, run_ids=[dag_run.run_id]).get(dag_run.run_id, {})
        failed = sorted(
            t
            for t, state in states.items()
            if str(state) in ("failed", "upstream_failed") and t != CONCLUSION
        )
        if failed:
            raise AirflowFailException(f"{UPSTREAM_FAILED}: {', '.join(failed[:20])}")

    leaves >> conclude()


def before_task(context: Any) -> None:
    """What happens before each task: complaints about malformed settings, skipping where schedules are held, a look at the conf."""
    complain_of_parsing()
    skip_when_held(context)
    if not context["task"].upstream_task_ids:
        check_conf(context["dag_run"].conf, context["dag"].params)


def skip_when_held(context: Any) -> None:
    """Skip the tasks of scheduled runs of DAGs listed in the Variable HELD_SCHEDULES ({dag_id: reason}).

    A triggered run needs its DAG unpaused, and unpausing starts the schedule's last interval as well; whoever unpauses just for a trigger
    (`./just trigger`, the demo) holds the schedule meanwhile, so that no full pull from a live API starts beside it.
    """
    run = context["dag_run"]
    if getattr(run.run_type, "value", run.run_type) != "scheduled":
        return
    if reason := value_of(HELD_SCHEDULES).get(run.dag_id):
        raise AirflowSkipException(f"this scheduled run is held by HELD_SCHEDULES: {reason}")


def _override_timeouts(dag: DAG) -> None:
    """CONFIGURATION_OVERRIDES: of the DAG's entries, the first whose pattern is found in a task's id counts for the task."""
    entries = when_parsed(CONFIGURATION_OVERRIDES).get(dag.dag_id, [])
    for operator in dag.tasks if entries else ():
        entry = next((e for e in entries if re.search(e.task_id_pattern, operator.task_id)), None)
        if entry is None:
            continue
        if isinstance(operator, MappedOperator):
            operator.partial_kwargs["execution_timeout"] = entry.limit
        elif isinstance(operator, BaseOperator):
            operator.execution_timeout = entry.limit


# documentation


def conf_table(params: Mapping[str, Param]) -> str:
    """The DAG's conf keys as a Markdown table, made from its Params; "" when it has none."""
    if not params:
        return ""
    rows = []
    for name, param in params.items():
        types = param.schema.get("type", "any")
        kinds = [t for t in ([types] if isinstance(types, str) else types) if t != "null"]
        kind = " or ".join(kinds) + (", format `YYYY-MM-DD`" if param.schema.get("format") == "date" else "")
        default = (
            f"`{json.dumps(param.value)}`" if param.has_value else "none" if "null" in types else "required"
        )
        rows.append(
            f"| `{name}` | {kind} | {default} | {param.schema.get('description_md') or param.description or ''} |"
        )
    return "**Configuration**\n\n| Key | Type | Default | Meaning |\n| --- | --- | --- | --- |\n" + "\n".join(
        rows
    )


def conf_example(dag_id: str, example: Mapping[str, Any] | None) -> str:
    """The last line of a manual DAG's documentation; {} is an example without conf."""
    if example is None:
        return ""
    conf = f" --conf '{json.dumps(example)}'" if example else ""
    return f"Example: `airflow dags trigger {dag_id}{conf}`"
