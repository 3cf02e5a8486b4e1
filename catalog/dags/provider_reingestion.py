"""fixed days of the past, once a week, above all for their popularity.

The days lie close together near the present and far apart in the past. All days of one list are independent; a list begins when the one
before it has ended, well or not. A day that fails does not stop the others: they are loaded, one alert names all that failed, and the run
ends failed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.ingestion import (
    check_configuration,
    ingest,
    provider_params,
    report_aggregate_reingestion_errors,
    report_load_completion,
    skip_when_fresh,
)
from catalog.ingestion.provider import Provider, Reingestion, provider_class, provider_names
from catalog.ingestion.windows import day_lists


@contextmanager
def reingestion_dag(cls: type[Provider], plan: Reingestion, doc: str, *leave_out: str) -> Iterator[None]:
    with catalog_dag(
        plan.dag_id,
        "provider-reingestion",
        schedule="@weekly",
        doc=doc,
        tags=tuple(f"provider-reingestion: {m}" for m in cls.strings),
        params={key: param for key, param in provider_params().items() if key not in leave_out},
        example={"date": "2024-02-10"} if cls.dated else {"limit": 100},
        intervals=True,
        dated=cls.dated,
        media_types=tuple(cls.strings),
        start_date=cls.start_date,
        max_active_tasks=plan.max_active_tasks,
        dagrun_timeout=plan.dagrun_timeout,
    ):
        yield


def days_workflow(cls: type[Provider], plan: Reingestion) -> None:
    """Past days of a dated provider, each a map index of its list's group."""
    lists = day_lists(*plan.days)
    steps = ["today", *(f"every_{step}_days" for step, count in plan.days if count)]
    doc = (
        f"Pulls {sum(map(len, lists))} past days of `{cls.name}_workflow` again, up to {lists[-1][-1]:,} days back: "
        f"{(__doc__ or '').strip()}\n\n"
        f"The days are counted back from the first day of the run's week, or from conf `date`. What is pulled, and how, is told at "
        f"[`{cls.name}_workflow`](#{cls.name}_workflow)."
    )
    with reingestion_dag(cls, plan, doc, "query_params_list"):
        checked = check_configuration()
        before: Any = checked
        groups: dict[str, list[int]] = {}
        for number, (step, days) in enumerate(zip(steps, lists, strict=True)):
            group_id = f"ingest_{step}"
            group = ingest(cls.name, pull_timeout=plan.pull_timeout, name=group_id, checked=checked).expand(
                day_shift=days
            )
            if number:
                before >> group
            groups[group_id] = days
            before = group
            if number + 1 < len(lists):
                before = EmptyOperator(task_id=f"gather_partition_{number}", trigger_rule="all_done")
                group >> before
        (
            before
            >> report_aggregate_reingestion_errors(cls.name, groups)
            >> report_load_completion(reingestion=True)
        )


def whole_workflow(cls: type[Provider], plan: Reingestion) -> None:
    """The whole of a provider that is not dated: one pull holds what all the days would."""
    doc = (
        f"Pulls everything again, once: the API knows no dates, so there are no past days to choose from and each run of "
        f"`{cls.name}_workflow` holds what a reingestion could find. This run is for when that one did not come to its end: a scheduled "
        f"run is skipped when a complete pull of either DAG was loaded during the last seven days. A run that is triggered by hand always "
        f"pulls. What is pulled, and how, is told at [`{cls.name}_workflow`](#{cls.name}_workflow)."
    )
    with reingestion_dag(cls, plan, doc, "date"):
        fresh = skip_when_fresh(cls.name, days=7)
        fresh >> ingest(cls.name, pull_timeout=plan.pull_timeout)() >> report_load_completion()


for provider in map(provider_class, provider_names()):
    if provider.reingestion:
        (days_workflow if provider.dated else whole_workflow)(provider, provider.reingestion)
