"""Deletes old log files of tasks, of the scheduler and of the dag-processor.

It looks through the folder that `[logging] base_log_folder` names: `dag_id=…/run_id=…` of runs, the dated folders of `scheduler` and
`dag_processor`, and `executor_callbacks`. A folder goes when nothing in it was written to for `maxLogAgeInDays`. Logs of running runs and
of today are never touched, links are never followed. With `enableDelete` off, the task log lists what would go, with sizes. Where logs are
sent elsewhere (`remote_logging`), there is nothing to do on this machine, and it says so.
"""

import logging
from pathlib import Path
from typing import Any

from airflow.sdk import Param, conf, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.conf import END

log = logging.getLogger(__name__)
SHOWN = 1000  # folders in the log


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"


@task
def log_cleaner_operator() -> list[str]:
    """The folders, deleted or to be deleted."""
    import time

    from catalog.maintenance.logs import delete, old_logs

    context: Any = get_current_context()
    given, instance = context["params"], context["ti"]
    if conf.getboolean("logging", "remote_logging", fallback=False):
        raise AirflowSkipException(
            "logs are kept elsewhere (remote_logging), so there is nothing left to do here."
        )
    base = Path(conf.get("logging", "base_log_folder"))

    def is_running(dag_id: str, run_id: str) -> bool:
        if (dag_id, run_id) == (context["dag_run"].dag_id, context["dag_run"].run_id):
            return True
        try:
            return str(instance.get_dagrun_state(dag_id, run_id)) in ("running", "queued")
        except Exception as problem:  # a run that has been deleted leaves its logs
            log.debug("%s %s: %s", dag_id, run_id, problem)
            return False

    found = old_logs(base, float(given["maxLogAgeInDays"]), time.time(), is_running)
    for folder in found[:SHOWN]:
        log.info("%10.2f MB  %s", folder.size / 2**20, folder.path)
    total = sum(folder.size for folder in found) / 2**20
    if not _is_true(given["enableDelete"]):
        log.info("DRY RUN: %s folders, %.2f MB, would be deleted.", f"{len(found):,}", total)
    else:
        log.info("%s folders deleted, %.2f MB freed.", f"{len(found):,}", delete(base, found) / 2**20)
    return [str(folder.path) for folder in found[:SHOWN]]


with catalog_dag(
    "airflow_log_cleanup",
    "maintenance",
    schedule="@weekly",
    doc=(__doc__ or "").strip(),
    params={  # With examples, the form shows the field of the first type; without, an area for any text. Number fields take no minus sign.
        "maxLogAgeInDays": Param(
            7, type=["string", "integer"], minimum=-1, maximum=36_500, pattern=r"^(-1|[0-9]{1,5})" + END,
            examples=["7", "30", "-1"], title="Age in days", description_md="Delete what is older; `-1` means all.",
        ),
        "enableDelete": Param(
            True, type=["boolean", "string"], pattern="^([Tt]rue|[Ff]alse)" + END, examples=[True, "false"], title="Delete",
            description_md="Off: only list what would be deleted.",
        ),
    },
    example={"maxLogAgeInDays": 30, "enableDelete": False},
):  # fmt: skip
    log_cleaner_operator()
