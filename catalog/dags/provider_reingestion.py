"""fixed days of the past, once a week, above all for their popularity.

The days lie close together near the present and far apart in the past. All days of one list are independent; a list begins when the one
before it has ended, well or not. A day that fails does not stop the others: they are loaded, one alert names all that failed, and the run
ends failed.
"""

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.ingestion import (
    check_configuration,
    ingest,
    provider_params,
    report_aggregate_reingestion_errors,
    report_load_completion,
)
from catalog.ingestion.provider import Reingestion, provider_class, provider_names
from catalog.ingestion.windows import day_lists


def reingestion_workflow(name: str, plan: Reingestion) -> None:
    cls = provider_class(name)
    lists = day_lists(*plan.days)
    steps = ["today", *(f"every_{step}_days" for step, count in plan.days if count)]
    summary = (
        f"Pulls {sum(map(len, lists))} past days of `{name}_workflow` again, up to {lists[-1][-1]:,} days back: "
        f"{(__doc__ or '').strip()}\n\n"
        f"The days are counted back from the first day of the run's week, or from conf `date`. What is pulled, and how, is told at "
        f"[`{name}_workflow`](#{name}_workflow)."
    )
    with catalog_dag(
        plan.dag_id,
        "provider-reingestion",
        schedule="@weekly",
        doc=summary,
        tags=tuple(f"provider-reingestion: {m}" for m in cls.strings),
        params={key: param for key, param in provider_params().items() if key != "query_params_list"},
        example={"date": "2024-02-10"},
        intervals=True,
        dated=True,
        media_types=tuple(cls.strings),
        start_date=cls.start_date,
        max_active_tasks=plan.max_active_tasks,
        dagrun_timeout=plan.dagrun_timeout,
    ):
        checked = check_configuration()
        before: Any = checked
        pulls: list[str] = []
        for number, (step, days) in enumerate(zip(steps, lists, strict=True)):
            group_id = f"ingest_{step}"
            group = ingest(name, pull_timeout=plan.pull_timeout, name=group_id, checked=checked).expand(day_shift=days)
            if number:
                before >> group
            pulls.append(f"{group_id}.pull_")
            before = group
            if number + 1 < len(lists):
                before = EmptyOperator(task_id=f"gather_partition_{number}", trigger_rule="all_done")
                group >> before
        before >> report_aggregate_reingestion_errors(pulls) >> report_load_completion(reingestion=True)


for provider in provider_names():
    if reingestion := provider_class(provider).reingestion:
        reingestion_workflow(provider, reingestion)
