"""Popularity of the catalog's records: how many views, downloads or uses a record has, made comparable between providers.

A score lies between 0 and 1: metric / (metric + constant). The constant is the provider's own, and such that the record at its 85th
percentile scores 0.85. Which key of `meta_data` is the metric, each provider declares; those without one have no scores.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.settings import DATA_REFRESH_POKE_INTERVAL
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.slack import UPSTREAM_FAILED, say
from catalog.dags.operators.variables import environment
from catalog.notifications.messages import escaped

log = logging.getLogger(__name__)
AT_A_TIME = 2  # batched updates beside each other
METRIC_TIMEOUT = {"image": timedelta(hours=24), "audio": timedelta(hours=1)}
REFRESH_TIMEOUT = {"image": timedelta(days=14), "audio": timedelta(days=1)}
POKE = int(environment(DATA_REFRESH_POKE_INTERVAL))  # seconds

REFRESH = """
Scores the {media_type} records anew, once a month.

1. What the providers declare is entered in `{media_type}_popularity_metrics`.
2. Of each provider, the value at its percentile is looked up and the constant made of it.
3. For each provider whose constant is another one than its rows were last scored with, a run of [`batched_update`](#batched_update)
   changes the rows whose score differs, two providers at a time. One that fails does not stop the others. The rest is skipped; conf
   `force` includes them. Where no record has a value, there is no constant, and scores that are there all the same are removed.
4. A provider is noted as scored after a look at each of its rows; when one differs, the task fails and the provider stays due.
5. One report names what came of each provider.

Any task, or the whole run, may be cleared at any time: a run of `batched_update` bears its provider's name and asks for metric and
constant when it works, so it never writes those of another provider or of an earlier month.

{about} It may run beside ingestion, which scores what it inserts or changes, and beside a data refresh.
"""
RECREATE = """
Makes the two SQL functions of {media_type} popularity anew: `{media_type}_popularity_percentile` and
`standardized_{media_type}_popularity`.

It is for a change of how popularity is calculated. No table is touched: run `{media_type}_popularity_refresh` afterwards, with `force`.
"""


@task
def update_popularity_metrics(media_type: MediaType) -> list[str]:
    """Providers with a metric."""
    from catalog.popularity.popularity import update_metrics

    with catalog_connection(autocommit=True) as connection:
        return update_metrics(connection, media_type)


def _declared(providers: list[str] | None) -> list[str]:
    """The providers that the first task found. Fails, without an alert of its own, when that task has failed."""
    if providers is None:
        raise AirflowFailException(f"{UPSTREAM_FAILED}: update_popularity_metrics")
    return providers


def refresh_constant(media_type: MediaType, provider: str) -> None:
    """The provider's value and constant, stored."""
    from catalog.popularity import popularity

    timeout = METRIC_TIMEOUT[media_type].total_seconds()
    with catalog_connection(autocommit=True) as connection:
        found = popularity.refresh_constant(connection, media_type, provider, timeout)
    log.info(
        "%s: value %s, constant %s; last scored with %s",
        provider,
        found.value,
        found.constant,
        found.refreshed,
    )


@task(trigger_rule="all_done")
def get_providers_update_confs(media_type: MediaType, providers: list[str] | None) -> list[dict[str, Any]]:
    """A conf of a batched update for each provider that is due; skips when none is."""
    from catalog.database.names import digest
    from catalog.database.selections import give_up
    from catalog.popularity.popularity import due, update_conf

    providers = _declared(providers)
    context: Any = get_current_context()
    force, run = bool(context["params"].get("force")), context["dag_run"]
    with catalog_connection(autocommit=True) as connection:
        metrics = due(connection, media_type, providers, force=force)
        if not metrics:
            raise AirflowSkipException("no provider's constant has changed since its rows were scored.")
        updates = []
        for metric in metrics:
            conf = update_conf(media_type, metric.provider)
            # A child run that is there already is run again with the conf it has (Airflow takes no other), and selects no rows again when
            # it has finished. So its name holds all that it is about: another provider, conf or constant is another run.
            child = f"{conf['query_id']}__{run.run_after:%Y%m%d}__{digest(run.run_id, conf, metric.constant)}"
            # What a child with another constant had selected are not all the rows of this one.
            give_up(connection, conf["query_id"], keep=f"batched_update/{child}")
            updates.append({"conf": conf, "child": child, "provider": metric.provider})
    return updates


@task(trigger_rule="all_success", map_index_template="{{ provider }}")
def note_refreshed(media_type: MediaType, provider: str) -> None:
    """All rows of the provider have their score now, which is looked at."""
    from catalog.popularity import popularity

    context: Any = get_current_context()
    context["provider"] = provider
    timeout = METRIC_TIMEOUT[media_type].total_seconds()
    with catalog_connection(autocommit=True) as connection, task_failures():
        popularity.note_refreshed(connection, media_type, provider, timeout)


@task(trigger_rule="all_done")
def notify_slack(media_type: MediaType, providers: list[str] | None) -> str:
    """What came of each provider: scored now, as it was, failed."""
    from catalog.popularity.popularity import metric_of, scored

    providers = _declared(providers)
    with catalog_connection(autocommit=True) as connection:
        metrics = [metric_of(connection, media_type, provider) for provider in providers]
        counts = scored(connection, media_type)
    lines = [f"*{media_type.capitalize()} popularity*:"]
    for m in metrics:
        state = (
            "no values yet"
            if m.constant is None
            else "NOT scored with today's constant"
            if m.is_due
            else "up to date"
        )
        shown = "none" if m.constant is None else f"{m.constant:g}"
        lines.append(
            f"  - {escaped(m.provider)}: {state}; constant {shown}, {counts.get(m.provider, 0):,} records with a score"
        )
    text = "\n".join(lines)
    say(text, f"{media_type.capitalize()} Popularity Refresh")
    return text


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
                description_md="Also those whose constant has not changed.",
            )
        },
        example={"force": True},
        max_active_tasks=8,
    ):
        providers: Any = update_popularity_metrics(media_type)
        limits: dict[str, Any] = {
            "execution_timeout": METRIC_TIMEOUT[media_type],
            "max_active_tis_per_dagrun": AT_A_TIME,
        }
        refreshed_constant = task(task_id="refresh_constant", **limits)(refresh_constant)
        constants = refreshed_constant.partial(media_type=media_type).expand(provider=providers)
        due: Any = get_providers_update_confs(media_type, providers)
        constants >> due

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
                execution_timeout=REFRESH_TIMEOUT[media_type],
                max_active_tis_per_dagrun=AT_A_TIME,
            )
            triggered >> note_refreshed.override(execution_timeout=METRIC_TIMEOUT[media_type])(
                media_type, provider
            )

        refreshed = refresh_popularity.expand_kwargs(due)
        refreshed >> notify_slack(media_type, providers)


def recreate_dag(media_type: MediaType) -> None:
    @task
    def recreate_popularity_functions() -> None:
        from catalog.popularity.popularity import recreate_functions

        with catalog_connection(autocommit=True) as connection:
            recreate_functions(connection, media_type)

    doc = RECREATE.format(media_type=media_type).strip()
    with catalog_dag(
        f"recreate_{media_type}_popularity_calculation", "database", schedule=None, doc=doc, example={}
    ):
        recreate_popularity_functions()


for medium in MEDIA_TYPES:
    refresh_dag(medium)
    recreate_dag(medium)
