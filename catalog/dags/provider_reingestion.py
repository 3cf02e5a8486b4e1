"""DAGs that pull past days again, every week."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator

from catalog.dags.common.params import provider_params
from catalog.dags.dag_factory import catalog_dag, is_parsed_for
from catalog.dags.groups.ingestion import check_configuration, ingest, skip_when_fresh
from catalog.dags.tasks.reports import report_aggregate_reingestion_errors, report_load_completion
from catalog.ingestion.provider import Provider, Reingestion
from catalog.ingestion.registry import dag_id_of, provider_classes
from catalog.ingestion.windows import day_lists

DATED_DOC = """
Pulls {number} past days of `{name}_workflow` again, up to {furthest:,} days back, every week, mainly to
update their popularity.

The days are close together near the present and far apart in the past. The days of one list are independent;
a list begins when the one before it has ended, whether it succeeded or not. A day that fails does not stop
the others: they are loaded, one alert names all days that failed, and the run fails. When it has ended, clear
the failed tasks without their downstream tasks, which would pull all later lists again: each pull that is
cleared is loaded and reported.

The days are counted back from the first day of the run's week, or from conf `date`. What is pulled, and how,
is described at [`{name}_workflow`](#{name}_workflow).
"""
UNDATED_DOC = """
Pulls everything again, in one pull: the API has no dates, so there are no past days to choose from, and each
run of `{name}_workflow` finds what a reingestion could find. This run is for when that one did not finish: a
scheduled run is skipped if a complete pull of either DAG was loaded during the last seven days. A run that is
triggered by hand always pulls. What is pulled, and how, is described at
[`{name}_workflow`](#{name}_workflow).
"""


@contextmanager
def reingestion_dag(cls: type[Provider], plan: Reingestion, doc: str, *leave_out: str) -> Iterator[None]:
    with catalog_dag(
        plan.dag_id,
        "provider-reingestion",
        schedule="@weekly",
        doc=doc,
        tags=tuple(f"provider-reingestion: {m}" for m in cls.catalog_names),
        params={key: p for key, p in provider_params(dated=cls.dated).items() if key not in leave_out},
        example={"date": "2024-02-10"} if cls.dated else {"limit": 100},
        intervals=True,
        dated=cls.dated,
        media_types=tuple(cls.catalog_names),
        start_date=cls.start_date,
        max_active_tasks=plan.max_active_tasks,
        dagrun_timeout=plan.dagrun_timeout,
    ):
        yield


def dated_workflow(cls: type[Provider], plan: Reingestion) -> None:
    """Declare the DAG of a dated provider; each day is a map index of its list's task group."""
    lists = day_lists(*plan.days)
    steps = ["today", *(f"every_{step}_days" for step, count in plan.days if count)]
    doc = DATED_DOC.format(number=sum(map(len, lists)), name=cls.name, furthest=lists[-1][-1]).strip()
    # A shortfall is accepted by a run for its day. Here, it would be accepted of days that nobody has seen.
    with reingestion_dag(cls, plan, doc, "query_params_list", "accept_shortfall"):
        checked = check_configuration()
        before: Any = checked
        groups: dict[str, list[int]] = {}
        every: list[Any] = []
        for number, (step, days) in enumerate(zip(steps, lists, strict=True)):
            group_id = f"ingest_{step}"
            group = ingest(cls.name, pull_timeout=plan.pull_timeout, name=group_id, checked=checked).expand(
                day_shift=days
            )
            if number:
                before >> group
            groups[group_id] = days
            every.append(group)
            before = group
            if number + 1 < len(lists):
                before = EmptyOperator(task_id=f"gather_partition_{number}", trigger_rule="all_done")
                group >> before
        # After each of them, also when a day of an early list is cleared in a run that has ended.
        (
            every
            >> report_aggregate_reingestion_errors(cls.name, groups)
            >> report_load_completion(reingestion=True, accepted_by=dag_id_of(cls.name))
        )


def undated_workflow(cls: type[Provider], plan: Reingestion) -> None:
    """Declare the DAG of a provider that is not dated: one pull finds what all the days would."""
    doc = UNDATED_DOC.format(name=cls.name).strip()
    with reingestion_dag(cls, plan, doc):
        fresh = skip_when_fresh(cls.name, days=7)
        fresh >> ingest(cls.name, pull_timeout=plan.pull_timeout)() >> report_load_completion()


for provider in provider_classes():  # for the others, see broken_providers.py
    if provider.reingestion and is_parsed_for(provider.reingestion.dag_id):
        (dated_workflow if provider.dated else undated_workflow)(provider, provider.reingestion)
