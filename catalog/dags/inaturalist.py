"""The DAG of iNaturalist: the files of its dump into tables, taxa named, photos into the catalog in batches."""

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from upath import UPath

from catalog.core.settings import CATALOGUE_OF_LIFE, INATURALIST_DUMP
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.ingestion import provider_params, report_load_completion
from catalog.dags.operators.running import stop_asked, task_failures
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.variables import value_of
from catalog.ingestion.provider import documentation, provider_class
from catalog.ingestion.replay import places as recorded_at
from catalog.providers.inaturalist.provider import FILES

log = logging.getLogger(__name__)
NAME = "inaturalist"
NAMES = "https://download.checklistbank.org/col/latest_coldp.zip"
HOURS = timedelta(hours=6)


def params() -> dict[str, Param]:
    common = provider_params()
    return {
        "sql_rm_source_data_after_ingesting": Param(
            True, type="boolean", title="Drop the dump's tables",
            description_md="Drop the tables of the dump when all is in the catalog. They stay after a failure, so that the run can go on.",
        ),
        "force": Param(False, type="boolean", title="Load again", description_md="Load the dump although it is the one loaded last."),
        "include_deleted": common["include_deleted"],
        "accept_shortfall": Param(
            False,
            type="boolean",
            title="Accept as whole",
            description_md="Load the dump, and count it as whole, although it holds less than half as many photos as the last whole one, "
            "or most of its photos lack an observation, a taxon or an observer. For when the check of the dump has failed, and "
            "you have found that this is right.",
        ),
        "replay": Param(
            None, type=["null", "string"], minLength=1, title="Dump folder",
            description_md="Folder that holds the four files, and `catalogue_of_life.zip` perhaps, instead of the real dump.",
        ),
    }  # fmt: skip


def places(replay: str | None) -> tuple[UPath, UPath | None]:
    """Where the dump lies, and the archive of the Catalogue of Life, if there is any."""
    if replay:
        found = next((p for p in recorded_at(Path(replay), NAME) if (p / "photos.csv.gz").is_file()), None)
        if found is None:
            raise AirflowFailException(
                f"replay: there is no photos.csv.gz in {replay}, {NAME}/ or {NAME}/recording/ below it."
            )
        archive = UPath(found / "catalogue_of_life.zip")
        return UPath(found), archive if archive.is_file() else None
    root, names = value_of(INATURALIST_DUMP), value_of(CATALOGUE_OF_LIFE) or NAMES
    return _path(root), None if names == "none" else _path(names)


def _path(address: str) -> UPath:
    """With a connection in the address (`s3://aws_default@bucket`), as that says; a bucket without one is public."""
    if "@" in address:
        return ObjectStoragePath(address)  # type: ignore[return-value]  # it behaves as one
    return UPath(address, anon=True) if address.startswith("s3:") else UPath(address)


def _places() -> tuple[UPath, UPath | None]:
    context: Any = get_current_context()
    return places(context["params"].get("replay"))


@task(retries=2)
def check_for_file_updates() -> str:
    """What tells this dump from others; skips everything when it is the one that was loaded last."""
    from catalog.providers.inaturalist import dump

    context: Any = get_current_context()
    root, _ = _places()
    with task_failures():
        token = dump.token(root)
    with catalog_connection() as connection:
        if dump.is_loaded(connection, token) and not context["params"].get("force"):
            raise AirflowSkipException(
                f"the dump at {root} has not changed since it was loaded; conf `force` loads it again."
            )
        dump.prepare(connection, token)
    return token


@task(execution_timeout=HOURS)
def load_catalog_of_life_names() -> dict[str, int]:
    from catalog.providers.inaturalist import dump

    with catalog_connection() as connection, task_failures():
        return dump.load_names(connection, _places()[1])


def load_file(name: str) -> int:
    from catalog.providers.inaturalist import dump

    with catalog_connection() as connection, task_failures():
        return dump.load_file(connection, _places()[0], name)


@task(execution_timeout=HOURS)
def name_taxa() -> int:
    from catalog.providers.inaturalist import dump

    with catalog_connection() as connection:
        return dump.name_taxa(connection)


@task(execution_timeout=HOURS)
def check_dump(token: str) -> list[str]:
    """What the dump lacks, when conf accepts that; fails when it lacks something otherwise."""
    from catalog.providers.inaturalist import dump

    context: Any = get_current_context()
    run, params = context["dag_run"], context["params"]
    with catalog_connection() as connection, task_failures():
        shortfalls = dump.check(
            connection,
            _places()[0],
            token,
            (run.dag_id, run.run_id),
            replayed=bool(params.get("replay")),
            accept=bool(params.get("accept_shortfall")),
        )
    for text in shortfalls:
        log.warning("ACCEPTED SHORTFALL: %s", text)
    return shortfalls


@task(execution_timeout=timedelta(days=5))
def load_image_data(token: str, shortfalls: list[str]) -> int:
    """Number of batches of this run. Stops between two of them when asked to, and goes on there."""
    from catalog.providers.inaturalist import dump

    context: Any = get_current_context()
    run, began = context["dag_run"], time.monotonic()
    seen = 0

    def progress(batch: Any, of: int, report: Any) -> None:
        nonlocal seen
        seen += report.fetched
        log.info(
            "batch %d of %d: %s photos, %s inserted, %s updated, %s unchanged; %.0f photos/s", batch.number + 1, of,
            f"{report.fetched:,}", f"{report.inserted:,}", f"{report.updated:,}", f"{report.unchanged:,}",
            seen / (time.monotonic() - began),
        )  # fmt: skip

    with catalog_connection() as connection, task_failures():
        dump.load_batches(
            connection,
            token,
            (run.dag_id, run.run_id),
            include_deleted=bool(context["params"].get("include_deleted")),
            replayed=bool(context["params"].get("replay")),
            shortfalls=shortfalls,
            progress=progress,
            should_stop=stop_asked(),
        )
        return len(dump.batches(connection))


@task
def drop_source_data(token: str) -> None:
    """Notes which dump is in the catalog, and drops its tables unless conf says not to."""
    from catalog.providers.inaturalist import dump

    context: Any = get_current_context()
    with catalog_connection() as connection:
        dump.finish(connection, token, drop=bool(context["params"].get("sql_rm_source_data_after_ingesting")))


@task_group
def ingest_data() -> None:
    token: Any = check_for_file_updates()
    files = [task(task_id=f"load_{name}", execution_timeout=HOURS)(load_file)(name) for name in FILES]
    named = name_taxa()
    token >> [*files, load_catalog_of_life_names()] >> named
    checked: Any = check_dump(token)
    named >> checked
    load_image_data(token, checked) >> drop_source_data(token)


cls = provider_class(NAME)
with catalog_dag(
    f"{NAME}_workflow",
    "provider",
    schedule=cls.schedule,
    doc=documentation(cls),
    tags=(*(f"provider: {m}" for m in cls.strings), "ingestion: full"),
    params=params(),
    example={"sql_rm_source_data_after_ingesting": False},
    media_types=tuple(cls.strings),
    start_date=cls.start_date,
    max_active_tasks=2,
):
    ingest_data() >> report_load_completion()
