"""The task group of every provider DAG: pull into TSV parts, then load each media type."""

from datetime import timedelta
from typing import Any

from airflow.sdk import task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.dates import utc
from catalog.core.queries import database_time
from catalog.dags.common.assets import CATALOG
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, DagRun
from catalog.dags.tasks.load import load
from catalog.dags.tasks.provider_run import is_manual
from catalog.dags.tasks.pull import pull
from catalog.ingestion.registry import provider_class
from catalog.loading.history import last_whole

# The days that a task covers, once it knows them.
DAY = "{{ covers | default(task.op_kwargs.day_shift ~ ' days back') }}"


@task
def check_configuration() -> None:
    """Do nothing: the conf is checked before every first task."""


@task
def skip_when_fresh(provider: str, days: int, dag_run: DagRun = GIVEN) -> None:
    """Skip a scheduled run if a whole pull of the provider began in the last days."""
    if is_manual(dag_run):
        return
    with catalog_connection(autocommit=True) as connection:
        newest = last_whole(connection, provider_class(provider).catalog_names)
        now = database_time(connection)
    if newest and newest > now - timedelta(days=days):
        raise AirflowSkipException(
            f"a whole pull began on {utc(newest):%Y-%m-%d}, less than {days} days ago."
        )


def ingest(
    provider: str, *, pull_timeout: timedelta | None = None, name: str = "ingest_data", checked: Any = None
) -> Any:
    """Return the task group that pulls and loads, to be called, or to be mapped over day shifts.

    Args:
        provider: Its name.
        pull_timeout: Overrides that of the provider.
        name: Id of the group.
        checked: The task that checks the conf of a reingestion. Its days are mapped, and one alert reports
            all their failures.
    """
    cls, mapped = provider_class(provider), checked is not None
    media_types = list(cls.catalog_names)
    pulled_media = media_types[0] if len(media_types) == 1 else "mixed"
    options: dict[str, Any] = {"on_failure_callback": [], "map_index_template": DAY} if mapped else {}
    timeout = pull_timeout or cls.pull_timeout
    # What a failed pull had read is loaded; but nothing is when the conf was refused.
    rule = "all_done_min_one_success" if mapped else "all_done"

    @task_group(group_id=name)
    def group(day_shift: int = 0) -> None:
        pull_task = task(task_id=f"pull_{pulled_media}_data", execution_timeout=timeout, **options)(pull)
        pulled: Any = pull_task(provider=provider, day_shift=day_shift)
        if mapped:
            checked >> pulled
        for media_type in media_types:
            load_task = task(
                task_id=f"load_{media_type}_data",
                execution_timeout=cls.load_timeout,
                trigger_rule=rule,
                outlets=[CATALOG[media_type]],
                **options,
            )(load)
            loaded = load_task(provider=provider, media_type=media_type, day_shift=day_shift, pulled=pulled)
            ([pulled, checked] if mapped else pulled) >> loaded

    return group
