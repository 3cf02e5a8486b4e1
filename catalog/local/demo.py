"""`./just demo`: providers, popularity and data refresh through the real scheduler, and what came of it."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import psycopg
from psycopg.rows import dict_row

from catalog.core.media import MEDIA_TYPES
from catalog.ingestion.provider import FOLDER, provider_class, provider_names
from catalog.local.airflow_api import AirflowApi
from catalog.local.runs import Run, unpaused, watch
from catalog.local.stack import Stack

LIVE_LIMIT = 200
SHOWN = ("flickr", "jamendo", "stocksnap", "wikimedia_commons", "wordpress")  # without --all
Dags = dict[str, dict[str, Any]]  # DAG id → conf
POPULARITY: Dags = {f"{m}_popularity_refresh": {} for m in MEDIA_TYPES}
REFRESH: Dags = {f"{m}_data_refresh": {} for m in MEDIA_TYPES}  # both at once: they take turns
WORDS = "bridge"
OUTCOMES = ("fetched", "inserted", "updated", "unchanged", "skipped", "rejected")


def conf_for(provider: str, live: bool) -> dict[str, Any]:
    """On its recording, the whole recording, of its day; live, a few hundred records of the last day."""
    if live:
        return {"limit": LIVE_LIMIT}
    if provider_class(provider).dump:
        # "force": also when the dump has not changed since the last demo.
        return {"replay": str(FOLDER), "accept_shortfall": True, "force": True}
    date = orjson.loads((FOLDER / provider / "recording" / "recording.json").read_bytes())["date"]
    # A recording is small: beside real pulls of the same provider it would look like a failure.
    return {"replay": str(FOLDER), "accept_shortfall": True, **({"date": date} if date else {})}


def chosen(everything: bool, live: bool) -> list[str]:
    """Names of the providers to run; live, only those that need no key or have one."""
    names = provider_names() if everything else SHOWN
    return [n for n in names if not live or not (provider_class(n).dump or _lacks_key(n))]


def _lacks_key(provider: str) -> bool:
    key = provider_class(provider).key
    return bool(key) and f"AIRFLOW_VAR_{key.variable}" not in os.environ  # type: ignore[union-attr]


def provider_dags(names: Iterable[str], live: bool) -> Dags:
    return {f"{name}_workflow": conf_for(name, live) for name in names}


def run_dags(
    stack: Stack, dags: Dags, *, say: Callable[[str], None], show: Callable[[list[Run]], None]
) -> list[Run]:
    """Trigger DAGs through the REST API, all at once, and follow them to their end."""
    api = AirflowApi(stack.ui)
    with unpaused(api, dags, say):
        return watch(
            api, [Run(dag_id, api.trigger(dag_id, conf)) for dag_id, conf in dags.items()], show, timeout=1800
        )


def outcomes(stack: Stack, runs: list[Run]) -> dict[str, list[dict[str, Any]]]:
    """DAG id → its rows of ingestion_report, one a media type."""
    with psycopg.connect(stack.dsn(), row_factory=dict_row) as connection:
        query = "select * from ingestion_report where dag_id = %s and run_id = %s order by media_type desc"
        return {run.dag_id: connection.execute(query, [run.dag_id, run.run_id]).fetchall() for run in runs}


def samples(stack: Stack) -> list[dict[str, Any]]:
    """One row of each provider, to look at."""
    strings = [s for name in provider_names() for s in provider_class(name).strings.values()]
    with psycopg.connect(stack.dsn(), row_factory=dict_row) as connection:
        return connection.execute(
            """
            select distinct on (provider) provider, title, creator, license || ' ' || license_version as license, foreign_landing_url
              from (select provider, title, creator, license, license_version, foreign_landing_url from image
                     union all
                    select provider, title, creator, license, license_version, foreign_landing_url from audio) media
             where provider = any(%s) and title is not null
             order by provider, title
            """,
            [strings],
        ).fetchall()
