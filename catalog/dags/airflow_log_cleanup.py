"""Deletes old log files of tasks, of the scheduler and of the dag-processor.

The DAG searches the folder that `[logging] base_log_folder` names: `dag_id=…/run_id=…` of runs, the dated
folders of `scheduler` and `dag_processor`, and `executor_callbacks`. A folder is deleted when no file in it
was changed for `maxLogAgeInDays`. Logs of active runs and of today are kept, and links are not followed. With
`enableDelete` off, the task log lists the folders that would be deleted, with their sizes. With remote
logging (`remote_logging`) there is nothing to delete on this machine, and the task is skipped.
"""

import logging
import time
from pathlib import Path

from airflow.sdk import Param, conf, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.dags.common.conf import END
from catalog.dags.common.context import GIVEN, DagRun, Params, TaskInstance, state_of
from catalog.dags.dag_factory import catalog_dag
from catalog.maintenance.logs import LogFolder, delete, old_logs

log = logging.getLogger(__name__)
SHOWN = 1000  # folders in the log


@task
def log_cleaner_operator(
    params: Params = GIVEN, dag_run: DagRun = GIVEN, ti: TaskInstance = GIVEN
) -> list[str]:
    """Return the folders that were deleted, or would be."""
    if conf.getboolean("logging", "remote_logging", fallback=False):
        raise AirflowSkipException(
            "logs are kept elsewhere (remote_logging), so there is nothing left to do here."
        )

    def is_active(dag_id: str, run_id: str) -> bool:
        if (dag_id, run_id) == (dag_run.dag_id, dag_run.run_id):
            return True
        return state_of(ti, dag_id, run_id) in ("running", "queued")

    base = Path(conf.get("logging", "base_log_folder"))
    if not base.is_dir():
        raise AirflowFailException(f"[logging] base_log_folder, {base}, is no folder of this worker.")
    found = old_logs(base, float(params["maxLogAgeInDays"]), time.time(), is_active)
    for folder in found[:SHOWN]:
        log.info("%10.2f MB  %s", folder.size / 2**20, folder.path)
    if str(params["enableDelete"]).lower() == "true":
        deleted = delete(base, found)
        log.info("%s folders deleted, %.2f MB freed.", f"{len(deleted):,}", _megabytes(deleted))
        if left := len(found) - len(deleted):
            raise AirflowFailException(
                f"{left:,} of {len(found):,} folders below {base} could not be deleted; the log of this task "
                "says why. Let the account that runs tasks own them."
            )
    else:
        log.info("DRY RUN: %s folders, %.2f MB, would be deleted.", f"{len(found):,}", _megabytes(found))
    return [str(folder.path) for folder in found[:SHOWN]]


def _megabytes(folders: list[LogFolder]) -> float:
    return sum(folder.size for folder in folders) / 2**20


with catalog_dag(
    "airflow_log_cleanup",
    "maintenance",
    schedule="@weekly",
    doc=(__doc__ or "").strip(),
    # With examples, the form has a field of the first type; without, a text area.
    # A number field takes no minus sign.
    params={
        "maxLogAgeInDays": Param(
            7,
            type=["string", "integer"],
            minimum=-1,
            maximum=36_500,
            pattern=r"^(-1|[0-9]{1,5})" + END,
            examples=["7", "30", "-1"],
            title="Age in days",
            description_md="Delete what is older; `-1` means all.",
        ),
        "enableDelete": Param(
            True,
            type=["boolean", "string"],
            pattern="^([Tt]rue|[Ff]alse)" + END,
            examples=[True, "false"],
            title="Delete",
            description_md="Off: only list what would be deleted.",
        ),
    },
    example={"maxLogAgeInDays": 30, "enableDelete": False},
):
    log_cleaner_operator()
