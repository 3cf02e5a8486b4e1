"""Cluster policy of the tests' stack: a failpoint makes a task fail, or kills it, before or after its work.

The file `failpoint.json` in Airflow's home has the keys `dag_id`, `task_id`, `when` (before, after), `how`
(fail, kill) and `once`. Unless `once` is true, the failpoint stays until the file is removed, so retries fail
as well. The file `pages` has the number of pages of a range of a copy, so that small tables have several. The
file `metrics.json` has environment variables by which tasks send metrics.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

FILE = Path(os.environ["AIRFLOW_HOME"]) / "failpoint.json"
PAGES = FILE.with_name("pages")
METRICS = FILE.with_name("metrics.json")


def _hit(context: Any, when: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    if not FILE.exists():
        return
    wanted, ti = json.loads(FILE.read_text()), context["ti"]
    if (ti.dag_id, ti.task_id, when) != (wanted["dag_id"], wanted["task_id"], wanted["when"]):
        return
    if wanted["once"]:
        FILE.unlink()
    if wanted["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise AirflowFailException(f"a failpoint {when} the work of {ti.task_id}")


def _split_small_tables() -> None:
    from catalog.data_refresh.tables import ranges

    if PAGES.exists():
        ranges.PAGES = int(PAGES.read_text())


def _send_metrics() -> None:
    """Configure the metrics of a task as Airflow has done when the task's process began."""
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    if METRICS.exists():
        os.environ.update(json.loads(METRICS.read_text()))
        stats.initialize(factory=get_stats_factory(), export_legacy_names=True)


def task_policy(task: Any) -> None:
    """Called by Airflow for each task of each DAG file it parses."""
    mapped = getattr(task, "partial_kwargs", None)
    before = mapped.get("pre_execute") if mapped is not None else task._pre_execute_hook

    def pre_execute(context: Any) -> None:
        _send_metrics()
        if before is not None:
            before(context)
        _split_small_tables()
        _hit(context, "before")

    def post_execute(context: Any, result: Any) -> None:
        _hit(context, "after")

    if mapped is not None:
        mapped["pre_execute"], mapped["post_execute"] = pre_execute, post_execute
    else:
        task._pre_execute_hook, task._post_execute_hook = pre_execute, post_execute
