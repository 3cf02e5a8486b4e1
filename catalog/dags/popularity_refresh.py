"""Popularity of records: their number of views, downloads or uses, made comparable between providers.

A score is between 0 and 1: metric / (metric + constant). The constant belongs to the provider, and is such
that the record at its 85th percentile scores 0.85. Each provider declares which key of `meta_data` is the
metric; providers without one have no scores.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.dags.common import metrics
from catalog.dags.common.acceptance import RunJudge, acceptance, accepted_lines
from catalog.dags.common.assets import CATALOG, POPULARITY, note_written
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, DagRun, Params, TaskInstance
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import UpstreamFailed, notify_end
from catalog.database.abandoned_selections import give_up
from catalog.database.names import digest
from catalog.notifications.message import escaped
from catalog.popularity import popularity
from catalog.popularity.popularity import (
    configured,
    due,
    metric_of,
    recreate_functions,
    update_conf,
    update_metrics,
)

log = logging.getLogger(__name__)
AT_A_TIME = 2  # batched updates beside each other
METRIC_TIMEOUT = {"image": timedelta(hours=24), "audio": timedelta(hours=1)}
REFRESH_TIMEOUT = {"image": timedelta(days=14), "audio": timedelta(days=1)}
PROVIDER = "{{ task.op_kwargs.provider }}"
POKE = 2  # seconds; the triggerer asks for the state of a run by one short query

REFRESH = """
Calculates the popularity scores of {media_type} records, once a month.

1. The metrics that providers declare are stored in `{media_type}_popularity_metrics`.
2. For each provider, the value at its percentile is determined, and the constant is calculated from it.
   A constant that would change by less than 0.2 % stays: each row with a metric would have to be written, and
   the search index does not distinguish such scores. If more than half of the records that had a metric
   above 0, and at least 5, have lost it, as when an API hides its numbers, constant and scores stay, and the
   provider's task fails. Some 1,000 of them are remembered for that, so that small losses add up.
   The conf `accept_lost` names providers for which that is right, as an earlier run has reported it;
   `force` stores each constant.
3. For each provider whose constant has changed since its rows were scored, a run of
   [`batched_update`](#batched_update) updates the rows whose score differs, two providers at a time. A failed
   run does not stop the others. Other providers are skipped, unless the conf says `force`. If a provider has
   no records with a value, its constant and its scores stay; scores of a provider that never had a constant
   are removed.
4. A provider is marked as scored after a check of each of its rows, which also counts those with a score. If
   a row differs, the task fails and the provider stays due.
5. One report gives the result of each provider.

Any task, or the whole run, can be cleared at any time: a run of `batched_update` is named after its provider,
and reads metric and constant when it runs, so it never writes those of another provider or of an earlier
month.

{about} The DAG can run beside ingestion, which scores the records that it inserts or changes, and beside a
data refresh.
"""
RECREATE = """
Recreates the two SQL functions of {media_type} popularity: `{media_type}_popularity_percentile` and
`standardized_{media_type}_popularity`.

Run it after a change to the calculation of popularity. No table is changed: run
`{media_type}_popularity_refresh` afterwards, with `force`.
"""


@task
def update_popularity_metrics(media_type: MediaType, params: Params = GIVEN) -> list[str]:
    """Store the declared metrics and return the providers that have one."""
    known = configured(media_type)
    if unknown := sorted({*params["accept_lost"]} - {*known}):
        with_metric = ", ".join(sorted(known))
        raise Refused(
            f"accept_lost: {', '.join(unknown)} has no metric; providers with one are {with_metric}."
        )
    with catalog_connection(autocommit=True) as connection:
        return update_metrics(connection, media_type)


def _declared(providers: list[str] | None) -> list[str]:
    """Return the providers of the first task. Raises UpstreamFailed if it has failed."""
    if providers is None:
        raise UpstreamFailed("update_popularity_metrics has failed, so no provider is known.")
    return providers


def refresh_constant(media_type: MediaType, provider: str, params: Params = GIVEN) -> str:
    """Determine the provider's value and constant and store them; return the provider."""
    accepted = params["accept_lost"]
    asked = acceptance("accept_lost", sorted({*accepted, provider}), given=provider in accepted)
    timeout = METRIC_TIMEOUT[media_type].total_seconds()
    with catalog_connection(autocommit=True) as connection:
        found = popularity.refresh_constant(
            connection, media_type, provider, timeout, exact=params["force"], judge=RunJudge(asked=asked)
        )
    log.info(
        "%s: value %s, constant %s; all rows are scored with %s",
        provider,
        found.value,
        found.constant,
        found.refreshed,
    )
    return provider


def _with_constant(ti: TaskInstance) -> set[str]:
    """Return the providers whose constant was determined in this run."""
    # Named in a list, because one mapped instance would otherwise be pulled as if it were no list.
    return {provider for provider in ti.xcom_pull(task_ids=["refresh_constant"]) if provider}


@task(trigger_rule="all_done")
def get_providers_update_confs(
    media_type: MediaType,
    providers: list[str] | None,
    params: Params = GIVEN,
    dag_run: DagRun = GIVEN,
    ti: TaskInstance = GIVEN,
) -> list[dict[str, Any]]:
    """Return the conf of a batched update for each provider that is due; skipped if none is.

    Records of a provider whose constant was refused keep their scores, also if all providers are asked for.
    """
    determined = _with_constant(ti)
    among = [provider for provider in _declared(providers) if provider in determined]
    with catalog_connection(autocommit=True) as connection:
        behind = due(connection, media_type, among, force=params["force"])
        if not behind:
            raise AirflowSkipException("no provider's constant has changed since its rows were scored.")
        updates = []
        for metric in behind:
            conf = update_conf(media_type, metric.provider)
            # An existing child run is run again with its own conf, and selects no rows if it has finished.
            # So its id depends on everything that matters: provider, conf and constant.
            what = digest(dag_run.run_id, conf, metric.constant)
            child = f"{conf['query_id']}__{dag_run.run_after:%Y%m%d}__{what}"
            # A selection for another constant lacks some of the rows.
            give_up(connection, conf["query_id"], keep=f"batched_update/{child}")
            updates.append({"conf": conf, "child": child, "provider": metric.provider})
    return updates


@task(trigger_rule="all_success", map_index_template=PROVIDER)
def note_refreshed(media_type: MediaType, provider: str) -> tuple[str, int]:
    """Mark a provider as scored, after a check of all its rows; return it and how many have a score."""
    timeout = METRIC_TIMEOUT[media_type].total_seconds()
    with catalog_connection(autocommit=True) as connection:
        scored = popularity.note_refreshed(connection, media_type, provider, timeout)
        metric = metric_of(connection, media_type, provider)
    note_written(
        POPULARITY[media_type],
        provider=provider,
        constant=None if metric.constant is None else f"{metric.constant:g}",
        scored=scored,
    )
    metrics.send_scored(media_type, provider, scored)
    return provider, scored


@task(trigger_rule="all_done")
def notify_slack(media_type: MediaType, providers: list[str] | None, ti: TaskInstance = GIVEN) -> str:
    """Report the result of each provider."""
    providers = _declared(providers)
    with catalog_connection(autocommit=True) as connection:
        found = [metric_of(connection, media_type, provider) for provider in providers]
    noted = ti.xcom_pull(task_ids=["refresh_popularity.note_refreshed"])
    checked = dict(one for one in noted if one)
    determined, declared, lines = _with_constant(ti), configured(media_type), []
    for m in found:
        state = (
            "constant NOT determined by this run; see its task refresh_constant"
            if m.provider not in determined
            else "no values yet"
            if m.constant is None
            else f"no record has {escaped(declared[m.provider])} yet, so scored by {escaped(m.metric)}"
            if m.metric != declared[m.provider]
            else "NOT scored with today's constant"
            if m.is_due
            else "up to date"
        )
        shown = "none" if m.constant is None else f"{m.constant:g}"
        scored = f", {checked[m.provider]:,} records with a score" if m.provider in checked else ""
        lines.append(f"  - {escaped(m.provider)}: {state}; constant {shown}{scored}")
    lines += accepted_lines()
    late = sum(m.is_due or m.provider not in determined for m in found)
    return notify_end(
        f"{media_type.capitalize()} popularity",
        f"{media_type.capitalize()} Popularity Refresh",
        f"{len(found)} providers, {len(checked)} scored now",
        fields={"Scored now": len(checked), "Not up to date": late},
        lines=lines,
        completion=not late,
    )


def refresh_dag(media_type: MediaType) -> None:
    with catalog_dag(
        f"{media_type}_popularity_refresh",
        "popularity_refresh",
        schedule="@monthly",
        doc=REFRESH.format(
            media_type=media_type, about=" ".join((__doc__ or "").split("\n\n")[1].split())
        ).strip(),
        params={
            "force": Param(
                False,
                type="boolean",
                title="All providers",
                description_md="Also those whose constant has not changed, or by less than 0.2 %.",
            ),
            "accept_lost": Param(
                [],
                type="array",
                items={"type": "string", "minLength": 1, "maxLength": 80},
                uniqueItems=True,
                title="Lost metrics",
                description_md="Names of providers in the catalog, one on each line, for which it is right "
                "that more than half of the records have lost their metric. Only as an earlier run has "
                "reported it.",
            ),
        },
        example={"force": True},
        media_types=(media_type,),
        max_active_tasks=8,
    ):
        providers: Any = update_popularity_metrics(media_type)
        limits: dict[str, Any] = {
            "execution_timeout": METRIC_TIMEOUT[media_type],
            "max_active_tis_per_dagrun": AT_A_TIME,
        }
        refreshed_constant = task(
            task_id="refresh_constant", map_index_template=PROVIDER, inlets=[CATALOG[media_type]], **limits
        )(refresh_constant)
        constants = refreshed_constant.partial(media_type=media_type).expand(provider=providers)
        updates: Any = get_providers_update_confs(media_type, providers)
        constants >> updates

        @task_group
        def refresh_popularity(conf: Any, child: str, provider: str) -> None:
            triggered = TriggerDagRunOperator(
                task_id="trigger_batched_update",
                trigger_dag_id="batched_update",
                trigger_run_id=child,
                conf=conf,
                reset_dag_run=True,
                wait_for_completion=True,
                deferrable=True,
                poke_interval=POKE,
                fail_when_dag_is_paused=True,
                note=f"Scores of {media_type} records, for {media_type}_popularity_refresh.",
                map_index_template="{{ task.conf.query_id }}",
                execution_timeout=REFRESH_TIMEOUT[media_type],
                max_active_tis_per_dagrun=AT_A_TIME,
            )
            noted = note_refreshed.override(
                execution_timeout=METRIC_TIMEOUT[media_type],
                inlets=[CATALOG[media_type]],
                outlets=[POPULARITY[media_type]],
            )
            triggered >> noted(media_type=media_type, provider=provider)

        refreshed = refresh_popularity.expand_kwargs(updates)
        refreshed >> notify_slack(media_type, providers)


def recreate_dag(media_type: MediaType) -> None:
    @task
    def recreate_popularity_functions() -> None:
        with catalog_connection(autocommit=True) as connection:
            recreate_functions(connection, media_type)

    doc = RECREATE.format(media_type=media_type).strip()
    with catalog_dag(
        f"recreate_{media_type}_popularity_calculation",
        "database",
        schedule=None,
        doc=doc,
        example={},
        media_types=(media_type,),
    ):
        recreate_popularity_functions()


for medium in MEDIA_TYPES:
    refresh_dag(medium)
    recreate_dag(medium)
