"""Makes a snapshot of the catalog database every Saturday, and deletes its oldest ones.

The instance is named by the Variable `CATALOG_RDS_DB_IDENTIFIER`; so many snapshots as `CATALOG_RDS_SNAPSHOTS_TO_RETAIN` says stay, the
new one among them. Only snapshots of that instance that this DAG made (`airflow-managed-…`) are ever deleted, and none before the new one
is whole. The AWS connection is `aws_default`, or what the environment's `AWS_RDS_CONN_ID` names.
"""

import logging
from datetime import date
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.settings import CATALOG_RDS_DB_IDENTIFIER, CATALOG_RDS_SNAPSHOTS_TO_RETAIN
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.aws import POKE, rds
from catalog.dags.operators.running import looks_again, task_failures
from catalog.dags.operators.variables import value_of

log = logging.getLogger(__name__)


def _database() -> str:
    name: str | None = value_of(CATALOG_RDS_DB_IDENTIFIER)
    if not name:
        raise AirflowFailException(
            "the Variable CATALOG_RDS_DB_IDENTIFIER is not set; it names the catalog's RDS instance."
        )
    return name


@task
def create_snapshot() -> str:
    """The snapshot's name, the same at each try of a run."""
    from catalog.maintenance.snapshots import PREFIX, create

    context: Any = get_current_context()
    name = f"{PREFIX}{context['dag_run'].run_after:%Y%m%dt%H%M%S}"
    create(rds(), _database(), name)
    return name


@looks_again(POKE, hours=12)
def await_snapshot_availability(name: str) -> bool:
    from catalog.maintenance.snapshots import available

    with task_failures():
        return available(rds(), name)


@task
def delete_previous_snapshots() -> list[str]:
    from catalog.maintenance.snapshots import delete_previous

    keep = value_of(CATALOG_RDS_SNAPSHOTS_TO_RETAIN)
    if keep is None:
        raise AirflowFailException(
            "the Variable CATALOG_RDS_SNAPSHOTS_TO_RETAIN is not set; give it a whole number, at least 1."
        )
    gone = delete_previous(rds(), _database(), keep)
    log.info("deleted %s", ", ".join(gone) or "none")
    return gone


with catalog_dag(
    "rotate_db_snapshots",
    "maintenance",
    schedule="0 0 * * 6",
    doc=(__doc__ or "").strip(),
    start_date=date(2022, 12, 2),
):
    name: Any = create_snapshot()
    await_snapshot_availability(name) >> delete_previous_snapshots()
