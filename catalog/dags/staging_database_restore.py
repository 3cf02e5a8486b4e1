"""Replaces the staging database by a copy of production's newest snapshot, once a month.

The snapshot is restored as a database of its own; then staging is renamed to an old name and the new one takes its place. If that fails,
the old one gets its name back. Afterwards the old database is deleted, production's applications and their keys are removed from the copy,
and the API is deployed to staging, which migrates the database. Between the two renames staging is away for a few minutes; Slack is told.

The Variable `STAGING_RESTORE_DATABASES` names the instances (`production`, `staging`, `temporary`, `old`), `STAGING_DEPLOY` the deployment
(`repository`, `workflow`, `package`; without it that step is skipped; the token is `GITHUB_API_KEY`). `SKIP_STAGING_DATABASE_RESTORE`
(`true`) skips a run. The AWS connection is `aws_default`, or what the environment's `AWS_RDS_CONN_ID` names. It waits while
`recreate_full_staging_index` runs. Each step may be cleared and repeated at any later time: it does what is still to be done, nothing when
that is done, or refuses. A run whose database is staging does not restore another one; trigger a new run for that.
"""

from datetime import date, timedelta
from typing import Any

from airflow.sdk import chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.settings import SKIP_STAGING_DATABASE_RESTORE, STAGING_DEPLOY, STAGING_RESTORE_DATABASES
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.aws import POKE, rds
from catalog.dags.operators.conflicts import prove_turn, wait_for_turn
from catalog.dags.operators.github import github
from catalog.dags.operators.running import looks_again, task_failures
from catalog.dags.operators.settings import STAGING_DB, database_connection
from catalog.dags.operators.slack import say
from catalog.dags.operators.variables import value_of

SENDER = "Staging Database Restore"


def _restore() -> Any:
    from catalog.maintenance.staging import Restore

    context: Any = get_current_context()
    return Restore(rds(), value_of(STAGING_RESTORE_DATABASES), context["dag_run"].run_id)


def waits(task_id: str, role: str, hours: float = 1) -> Any:
    """A sensor: the database of that role is available."""

    @looks_again(POKE, hours, task_id=task_id)
    def available() -> bool:
        with task_failures():
            return bool(_restore().available(role))

    return available()


@task.short_circuit
def should_skip() -> bool:
    """False, which skips the rest, when the Variable says so."""
    if not value_of(SKIP_STAGING_DATABASE_RESTORE):
        return True
    say("Skipped: `SKIP_STAGING_DATABASE_RESTORE` is set.", SENDER)
    return False


@task
def get_latest_prod_snapshot() -> str:
    with task_failures():
        snapshot: str = _restore().latest_snapshot()
    return snapshot


@looks_again(POKE, hours=4)
def ensure_snapshot_ready(snapshot: str) -> bool:
    with task_failures():
        return bool(_restore().snapshot_ready(snapshot))


@task
def get_staging_db_details() -> dict[str, Any]:
    with task_failures():
        details: dict[str, Any] = _restore().details()
    return details


@task
def restore_staging_from_snapshot(snapshot: str, details: dict[str, Any]) -> None:
    prove_turn()
    with task_failures("Staging is as it was."):
        _restore().restore(snapshot, details)


@task
def notify_outage() -> None:
    say("The restored database is ready; staging will be away for a few minutes.", SENDER)


@task(retries=2)
def rename_staging_to_old() -> None:
    prove_turn()
    with task_failures("Staging is where it was."):
        _restore().move_staging_away()


@task(retries=2)
def rename_temporary_to_staging() -> None:
    prove_turn()
    with task_failures():
        _restore().move_restored_in()


@task(trigger_rule="one_failed", retries=5, retry_delay=timedelta(seconds=POKE))
def roll_back() -> str:
    """The old database gets its name back; skipped when staging is there."""
    with task_failures("Give the old database staging's name by hand."):
        if not _restore().roll_back():
            raise AirflowSkipException("staging is there; nothing to take back.")
    text = "The exchange failed; the old staging database is back under its name."
    say(text, SENDER, alert=True)
    return text


@task
def delete_old() -> None:
    prove_turn()
    with task_failures():
        _restore().delete_old()


@looks_again(POKE, hours=1)
def await_old_deleted() -> bool:
    with task_failures():
        return bool(_restore().gone())


@task
def truncate_applications() -> None:
    """Production's applications and keys, which must not work in staging."""
    from catalog.maintenance.staging import forget_applications

    prove_turn()
    with task_failures():
        _restore().require_exchanged()
    with database_connection(STAGING_DB, autocommit=True) as connection:
        forget_applications(connection)


@task
def deploy_staging() -> str:
    """The tag that is deployed; skipped when no deployment is configured."""
    from catalog.maintenance.staging import deploy

    target = value_of(STAGING_DEPLOY)
    if target is None:
        raise AirflowSkipException(
            "the Variable STAGING_DEPLOY is not set; deploy the API to staging by hand, it migrates the database."
        )
    with task_failures():
        return deploy(target, github(target.api))


@task(trigger_rule="none_failed")
def notify_complete() -> None:
    say("The staging database is the copy of production's snapshot that this run restored.", SENDER)


with catalog_dag(
    "staging_database_restore",
    "database",
    schedule="@monthly",
    doc=(__doc__ or "").strip(),
    start_date=date(2023, 5, 1),
    dagrun_timeout=timedelta(days=8),
    max_active_tasks=4,
    conflicts=("recreate_full_staging_index",),
):
    snapshot: Any = get_latest_prod_snapshot()
    details: Any = get_staging_db_details()
    restored = restore_staging_from_snapshot(snapshot, details)
    go_on = should_skip()
    exchange = [
        rename_staging_to_old(),
        waits("await_old", "old"),
        rename_temporary_to_staging(),
        waits("await_staging", "staging"),
    ]
    chain(wait_for_turn(), go_on, snapshot, ensure_snapshot_ready(snapshot), restored)
    chain(go_on, details)
    chain(
        restored,
        waits("await_restored", "temporary", 6),
        notify_outage(),
        *exchange,
        delete_old(),
        await_old_deleted(),
    )
    chain(exchange[-1], truncate_applications(), deploy_staging(), notify_complete())
    exchange >> roll_back()
