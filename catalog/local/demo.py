"""`./just demo`: run providers, popularity and data refresh through the real scheduler."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson
import psycopg
from psycopg.rows import dict_row

from catalog.core.airflow_ui import dag_path
from catalog.core.media import MEDIA_TYPES
from catalog.ingestion.registry import FOLDER, dag_id_of, provider_class, provider_classes, provider_names
from catalog.local.airflow_api import AirflowApi
from catalog.local.runs import Run, watch
from catalog.local.schedules import unpaused
from catalog.local.stack import ROOT, Stack
from catalog.local.variables import value_of

Conf = dict[str, object]
Dags = dict[str, Conf]  # by DAG id
Row = dict[str, object]

LIVE_LIMIT = 200
SHOWN = ("flickr", "jamendo", "stocksnap", "wikimedia_commons", "wordpress")  # without --all
POPULARITY: Dags = {f"{m}_popularity_refresh": {} for m in MEDIA_TYPES}
REFRESH: Dags = {f"{m}_data_refresh": {} for m in MEDIA_TYPES}  # triggered together; they run in turn
WORDS = "bridge"
EXAMPLE = "stocksnap"  # a provider that every demo runs: it needs no key
OUTCOMES = ("fetched", "inserted", "updated", "unchanged", "skipped", "rejected")


class NextStep(NamedTuple):
    """Something to do after the demo, with the address of its page."""

    what: str
    address: str


def conf_for(provider: str, live: bool) -> Conf:
    """Return the conf of a provider's DAG.

    Args:
        provider: Name of the provider.
        live: Use the real API and a few hundred records of the last day; else the whole recording, with
            the day it was recorded for.
    """
    if live:
        return {"limit": LIVE_LIMIT}
    if provider_class(provider).dump:
        # "force": load the dump even if it has not changed since the last demo.
        return {"replay": str(FOLDER), "accept_shortfall": True, "force": True}
    date = orjson.loads((FOLDER / provider / "recording" / "recording.json").read_bytes())["date"]
    # A recording is small: compared with real pulls of the same provider it would be a shortfall.
    return {"replay": str(FOLDER), "accept_shortfall": True, **({"date": date} if date else {})}


def select_providers(everything: bool) -> list[str]:
    """Return the names of the providers to run."""
    return list(provider_names() if everything else SHOWN)


def with_access(names: Iterable[str], stored: Mapping[str, str]) -> list[str]:
    """Choose the providers whose real API can be used: those that need no key, or whose key is set.

    Args:
        names: Names of providers.
        stored: The stored Variables by name; see `value_of`.
    """
    classes = map(provider_class, names)
    return [c.name for c in classes if not c.dump and (c.key is None or value_of(c.key.variable, stored))]


def provider_dags(names: Iterable[str], live: bool) -> Dags:
    return {dag_id_of(name): conf_for(name, live) for name in names}


def run_dags(
    stack: Stack, dags: Dags, *, notify: Callable[[str], None], show: Callable[[list[Run]], None]
) -> list[Run]:
    """Trigger DAGs through the REST API, all at once, and wait for their end.

    Args:
        stack: A running stack.
        dags: Confs by DAG id.
        notify: Called with messages for the user.
        show: Called with all runs at each poll.
    """
    api = AirflowApi(stack.ui)
    with unpaused(stack, dags, notify):
        runs = [Run(dag_id, api.trigger(dag_id, conf)) for dag_id, conf in dags.items()]
        return watch(api, runs, show, timeout=1800)


def reports(stack: Stack, runs: list[Run]) -> dict[str, list[Row]]:
    """Return the rows of `ingestion_report` of runs by DAG id, one row per media type."""
    query = "select * from ingestion_report where dag_id = %s and run_id = %s order by media_type desc"
    with psycopg.connect(stack.dsn(), row_factory=dict_row) as connection:
        return {run.dag_id: connection.execute(query, [run.dag_id, run.run_id]).fetchall() for run in runs}


def samples(stack: Stack) -> list[Row]:
    """Return one row of each provider in the catalog."""
    names = [s for cls in provider_classes() for s in cls.catalog_names.values()]
    query = Path(__file__).with_name("samples.sql").read_bytes()
    with psycopg.connect(stack.dsn(), row_factory=dict_row) as connection:
        return connection.execute(query, [names]).fetchall()


def next_steps(ui: str) -> list[NextStep]:
    """Return what to do after the demo.

    Args:
        ui: Address of the UI.
    """
    return [
        NextStep(
            "Search what was loaded, and open a record: which of its tags are searched, and why",
            f"{ui}/catalog/explore?media=image&q={WORDS}",
        ),
        NextStep(
            "See what a provider's runs have loaded, skipped and rejected, and why",
            f"{ui}/catalog/providers/{EXAMPLE}",
        ),
        NextStep(
            "Run a DAG by the command below; the button Trigger of its page explains each field of the conf",
            f"{ui}{dag_path(f'{EXAMPLE}_workflow')}",
        ),
    ]


def example_command(live: bool) -> str:
    """Return a command that runs a DAG with a conf."""
    conf = {"limit": 3} if live else {"replay": str(FOLDER.relative_to(ROOT)), "limit": 3}
    return f"./just trigger {EXAMPLE}_workflow '{json.dumps(conf)}'"
