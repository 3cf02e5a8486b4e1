"""Takes a snapshot of the catalog database every Saturday and deletes the oldest ones.

The Variable `CATALOG_RDS_DB_IDENTIFIER` names the instance. `CATALOG_RDS_SNAPSHOTS_TO_RETAIN` snapshots are
kept, the new one included. Only snapshots of that instance that this DAG took (`airflow-managed-…`) are ever
deleted, and only after the new one is available. The AWS connection is `aws_default`, or the one that the
environment variable `AWS_RDS_CONN_ID` names.
"""

import logging
from datetime import date
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.settings import CATALOG_RDS_DB_IDENTIFIER, CATALOG_RDS_SNAPSHOTS_TO_RETAIN
from catalog.dags.common.aws import POKE, rds
from catalog.dags.common.context import GIVEN, DagRun
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.sensors import reschedule_sensor
from catalog.maintenance.snapshots import PREFIX, available, create, delete_previous

log = logging.getLogger(__name__)


def _database() -> str:
    name: str | None = value_of(CATALOG_RDS_DB_IDENTIFIER)
    if not name:
        raise AirflowFailException(
            "the Variable CATALOG_RDS_DB_IDENTIFIER is not set; it names the catalog's RDS instance."
        )
    return name


@task
def create_snapshot(dag_run: DagRun = GIVEN) -> str:
    """Return the name of the snapshot, which is the same at each attempt of a run."""
    return create(rds(), _database(), f"{PREFIX}{dag_run.run_after:%Y%m%dt%H%M%S}")


@reschedule_sensor(POKE, hours=12)
def await_snapshot_availability(name: str) -> bool:
    return available(rds(), _database(), name)


@task
def delete_previous_snapshots() -> list[str]:
    """Return the names of the snapshots that were deleted."""
    keep = value_of(CATALOG_RDS_SNAPSHOTS_TO_RETAIN)
    if keep is None:
        raise AirflowFailException(
            "the Variable CATALOG_RDS_SNAPSHOTS_TO_RETAIN is not set; give it a whole number, at least 1."
        )
    deleted = delete_previous(rds(), _database(), keep)
    log.info("deleted %s", ", ".join(deleted) or "none")
    return deleted


with catalog_dag(
    "rotate_db_snapshots",
    "maintenance",
    schedule="0 0 * * 6",
    doc=(__doc__ or "").strip(),
    start_date=date(2022, 12, 2),
):
    name: Any = create_snapshot()
    await_snapshot_availability(name) >> delete_previous_snapshots()
