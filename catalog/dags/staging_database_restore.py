"""Replaces the staging database with a copy of production's newest snapshot, once a month.

A snapshot that is older than two days is refused, because production's backups must have stopped.

The snapshot is restored as a new database. Then staging is renamed to an old name, and the new database takes
its place. If that fails, the old one gets its name back. Afterwards the old database is deleted, production's
applications and their keys are removed from the copy, and the API is deployed to staging, which migrates the
database. Once the old database is gone, the keys are removed again, because the connection may have led to
the old one. Staging is unavailable for a few minutes between the two renames; a Slack message announces that.

The Variable `STAGING_RESTORE_DATABASES` names the instances (`production`, `staging`, `temporary`, `old`),
and `STAGING_DEPLOY` the deployment (`repository`, `workflow`, `package`; without it that step is skipped).
The token `GITHUB_API_KEY` is a classic one with `repo` and `read:packages`, because fine-grained ones cannot
read packages. A run is skipped if `SKIP_STAGING_DATABASE_RESTORE` is `true`. The AWS connection
is `aws_default`, or the one that the environment variable `AWS_RDS_CONN_ID` names. The DAG waits while
`recreate_full_staging_index`, or another DAG that changes staging's indexes, runs. Each step can be cleared
and repeated at any later time: it does what is still to be done, or nothing, or refuses. A run whose database
is staging does not restore another one; trigger a new run for that.
"""

from contextlib import nullcontext
from datetime import date, timedelta
from typing import Any

from airflow.sdk import chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.settings import (
    API_DB,
    SKIP_STAGING_DATABASE_RESTORE,
    STAGING_DB,
    STAGING_DEPLOY,
    STAGING_RESTORE_DATABASES,
)
from catalog.dags.common.aws import POKE, rds
from catalog.dags.common.connections import api_connection, database_connection, is_configured
from catalog.dags.common.environments import STAGING
from catalog.dags.common.github import github
from catalog.dags.common.retries import hint
from catalog.dags.common.state import FirstTime
from catalog.dags.common.variables import limit_of, value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.sensors import reschedule_sensor
from catalog.dags.operators.slack import notify
from catalog.dags.operators.turns import require_turn, wait_for_turn
from catalog.maintenance.rds_restore import Restore, Role
from catalog.maintenance.staging import deploy, forget_applications

SENDER = "Staging Database Restore"


def _restore() -> Restore:
    run_id = get_current_context()["dag_run"].run_id
    return Restore(rds(), value_of(STAGING_RESTORE_DATABASES), run_id)


def await_available(task_id: str, role: Role, hours: float = 1) -> Any:
    """Return a sensor that waits until the database of a role is available."""

    @reschedule_sensor(POKE, hours, task_id=task_id)
    def available() -> bool:
        return bool(_restore().available(role))

    return available()


@task.short_circuit
def should_skip() -> bool:
    """Return False, which skips all other tasks, if the Variable says so."""
    if not limit_of(SKIP_STAGING_DATABASE_RESTORE):
        return True
    notify("Restore skipped", SENDER, "Skipped: `SKIP_STAGING_DATABASE_RESTORE` is set.")
    return False


@task
def get_latest_prod_snapshot() -> str:
    snapshot: str = _restore().latest_snapshot()
    return snapshot


@reschedule_sensor(POKE, hours=4)
def ensure_snapshot_ready(snapshot: str) -> bool:
    return bool(_restore().snapshot_ready(snapshot))


@task
def get_staging_db_details() -> dict[str, Any]:
    details: dict[str, Any] = _restore().details()
    return details


@task
def restore_staging_from_snapshot(snapshot: str, details: dict[str, Any]) -> None:
    first_time = FirstTime()
    require_turn()
    own = _restore()
    with hint("Staging is as it was."):
        with first_time as first:
            if first:
                own.rename_earlier_run()
        own.restore(snapshot, details)


@task
def notify_outage() -> None:
    notify(
        "Outage of staging",
        SENDER,
        "The restored database is ready; staging will be unavailable for a few minutes.",
    )


@task(retries=2)
def rename_staging_to_old() -> None:
    require_turn()
    with hint("Staging is where it was."):
        _restore().move_staging_away()


@task(retries=2)
def rename_temporary_to_staging() -> None:
    require_turn()
    _restore().move_restored_in()


@task(trigger_rule="one_failed", retries=5, retry_delay=timedelta(seconds=POKE))
def roll_back() -> str:
    """Give the old database its name back; skipped if staging exists."""
    with hint("Give the old database staging's name by hand."):
        if not _restore().roll_back():
            raise AirflowSkipException("staging exists; nothing to roll back.")
    text = "The exchange failed; the old staging database is back under its name."
    return notify("Restore failed", SENDER, text, alert=True)


@task
def delete_old() -> None:
    require_turn()
    _restore().delete_old()


@reschedule_sensor(POKE, hours=2)
def await_old_deleted() -> bool:
    return bool(_restore().is_old_deleted())


@task
def truncate_applications() -> None:
    """Remove production's applications and keys, which must not work in staging."""
    require_turn()
    production = api_connection(autocommit=True) if is_configured(API_DB) else nullcontext()
    with production as api, database_connection(STAGING_DB, autocommit=True) as staging:
        _restore().require_exchanged(staging.info.host)
        forget_applications(staging, api)


@task
def deploy_staging() -> str:
    """Return the tag that is deployed; skipped if no deployment is configured."""
    target = value_of(STAGING_DEPLOY)
    if target is None:
        raise AirflowSkipException(
            "the Variable STAGING_DEPLOY is not set; deploy the API to staging by hand."
        )
    return deploy(target, github(target.api))


@task(trigger_rule="none_failed_min_one_success")
def notify_complete() -> None:
    name = _restore().source()
    snapshot = f"snapshot `{name}`" if name else "snapshot"
    text = f"The staging database is the copy of production's {snapshot} that this run restored."
    notify("Staging restored", SENDER, text, completion=True)


with catalog_dag(
    "staging_database_restore",
    "database",
    schedule="@monthly",
    doc=(__doc__ or "").strip(),
    start_date=date(2023, 5, 1),
    dagrun_timeout=timedelta(days=8),
    max_active_tasks=4,
    conflicts=("recreate_full_staging_index", *STAGING.upkeep),
):
    snapshot: Any = get_latest_prod_snapshot()
    details: Any = get_staging_db_details()
    restored = restore_staging_from_snapshot(snapshot, details)
    go_on = should_skip()
    exchange = [
        rename_staging_to_old(),
        await_available("await_old", "old"),
        rename_temporary_to_staging(),
        await_available("await_staging", "staging"),
    ]
    chain(wait_for_turn(), go_on, snapshot, ensure_snapshot_ready(snapshot), restored)
    chain(go_on, details)
    chain(restored, await_available("await_restored", "temporary", 6), notify_outage(), *exchange)
    truncated, complete = truncate_applications(), notify_complete()
    # A name that was just exchanged, or a pool, may still lead to the old database, as long as there is one.
    truncated_again = truncate_applications.override(task_id="truncate_applications_again")()
    chain(exchange[-1], truncated, deploy_staging(), complete)
    chain(exchange[-1], delete_old(), await_old_deleted(), truncated_again)
    # deploy_staging skips itself if no deployment is configured.
    truncated >> truncated_again >> complete
    exchange >> roll_back()
