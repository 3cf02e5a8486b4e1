"""The DAG of iNaturalist, which loads a dump: files into tables, names of taxa, photos in batches."""

import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from upath import UPath

from catalog.core.settings import CATALOGUE_OF_LIFE, INATURALIST_DUMP
from catalog.dags.common import metrics
from catalog.dags.common.acceptance import RunJudge, acceptance
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, DagRun, Params
from catalog.dags.common.params import provider_params
from catalog.dags.common.progress import sigterm_flag
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.tasks.reports import report_load_completion
from catalog.ingestion.recording import candidate_folders
from catalog.ingestion.registry import dag_id_of, documentation, provider_class
from catalog.loading.history import reports_of
from catalog.loading.report import LoadReport
from catalog.providers.inaturalist import dump, dump_files, photo_batches, taxa
from catalog.providers.inaturalist.provider import FILES

log = logging.getLogger(__name__)
NAME = "inaturalist"
CATALOGUE_ADDRESS = "https://download.checklistbank.org/col/latest_coldp.zip"
TIMEOUT = timedelta(hours=6)


def _form() -> dict[str, Param]:
    common = provider_params()
    return {
        "sql_rm_source_data_after_ingesting": Param(
            True,
            type="boolean",
            title="Drop the dump's tables",
            description_md="Drop the tables of the dump when everything is in the catalog. "
            "They stay after a failure, so that the run can be resumed.",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Load again",
            description_md="Load the dump although it is the one loaded last.",
        ),
        "include_deleted": common["include_deleted"],
        "accept_shortfall": Param(
            False,
            type="boolean",
            title="Accept as whole",
            description_md="Load the dump, and count it as whole, although it has fewer photos than the last "
            "whole one, more of them lack an observation, taxon or observer, or they would lose their names. "
            "For when the check of the dump has failed, and you have found that this is right. Less than it "
            "has reported, and another dump, are not accepted.",
        ),
        "replay": Param(
            None,
            type=["null", "string"],
            minLength=1,
            title="Dump folder",
            description_md="Folder of the four files (and `catalogue_of_life.zip`) to load instead.",
        ),
    }


def locate(replay: str | None) -> tuple[UPath, UPath | None]:
    """Return the folder of the dump, and the archive of the Catalogue of Life if there is one.

    Args:
        replay: A folder that holds a recording, instead of the addresses of the settings.
    """
    if replay:
        found = next(
            (p for p in candidate_folders(Path(replay), NAME) if (p / "photos.csv.gz").is_file()), None
        )
        if found is None:
            raise AirflowFailException(
                f"replay: there is no photos.csv.gz in {replay}, {NAME}/ or {NAME}/recording/ below it."
            )
        archive = UPath(found / "catalogue_of_life.zip")
        return UPath(found), archive if archive.is_file() else None
    root, names = value_of(INATURALIST_DUMP), value_of(CATALOGUE_OF_LIFE) or CATALOGUE_ADDRESS
    return _path(root), None if names == "none" else _path(names)


def _path(address: str) -> UPath:
    """Return the path of an address; a bucket without a connection (`s3://aws_default@bucket`) is public."""
    if "@" in address:
        return ObjectStoragePath(address)  # type: ignore[return-value]  # it behaves as one
    return UPath(address, anon=True) if address.startswith("s3:") else UPath(address)


@task(retries=2)
def check_for_file_updates(params: Params = GIVEN) -> str:
    """Return the token that identifies the dump; skipped, with all later tasks, if it was loaded last."""
    root, _ = locate(params.get("replay"))
    token = dump_files.token(root)
    with catalog_connection() as connection:
        if dump.is_loaded(connection, token) and not params.get("force"):
            raise AirflowSkipException(
                f"the dump at {root} has not changed since it was loaded; conf `force` loads it again."
            )
        dump.prepare(connection, token)
    metrics.expect_loads(cls.catalog_names)
    return token


@task(execution_timeout=TIMEOUT)
def load_catalog_of_life_names(token: str, params: Params = GIVEN) -> dict[str, int]:
    with catalog_connection() as connection:
        return taxa.load_names(connection, locate(params.get("replay"))[1], token)


def load_file(name: str, token: str, params: Params = GIVEN) -> int:
    with catalog_connection() as connection:
        return dump_files.load_file(connection, locate(params.get("replay"))[0], name, token)


@task(execution_timeout=TIMEOUT)
def name_taxa(token: str) -> int:
    with catalog_connection() as connection:
        return taxa.name_taxa(connection, token)


@task(execution_timeout=TIMEOUT)
def check_dump(token: str, params: Params = GIVEN, dag_run: DagRun = GIVEN) -> list[str]:
    """Return what the dump lacks if the conf accepts that; fail otherwise."""
    judge = RunJudge(asked=acceptance("accept_shortfall"))
    with catalog_connection() as connection:
        shortfalls = dump.check(
            connection,
            locate(params.get("replay"))[0],
            token,
            (dag_run.dag_id, dag_run.run_id),
            replayed=bool(params.get("replay")),
            judge=judge,
        )
    for text in shortfalls:
        log.warning("ACCEPTED SHORTFALL: %s", text)
    return shortfalls


class BatchProgress:
    """Counts each batch in the metrics, and writes a line to the task log."""

    def __init__(self) -> None:
        self._began, self._photos = time.monotonic(), 0

    def __call__(self, batch: photo_batches.Batch, of: int, report: LoadReport) -> None:
        metrics.count_load(report)
        self._photos += report.fetched
        log.info(
            "batch %d of %d: %s photos, %s inserted, %s updated, %s unchanged; %.0f photos/s",
            batch.number + 1,
            of,
            *(f"{count:,}" for count in (report.fetched, report.inserted, report.updated, report.unchanged)),
            self._photos / (time.monotonic() - self._began),
        )


@task(execution_timeout=timedelta(days=5), outlets=[CATALOG["image"]])
def load_image_data(
    token: str, shortfalls: list[str], params: Params = GIVEN, dag_run: DagRun = GIVEN
) -> int:
    """Load the batches and return their number. A task that is stopped resumes at the next batch."""
    with catalog_connection() as connection:
        batches = photo_batches.load_batches(
            connection,
            token,
            (dag_run.dag_id, dag_run.run_id),
            include_deleted=bool(params.get("include_deleted")),
            replayed=bool(params.get("replay")),
            shortfalls=shortfalls,
            progress=BatchProgress(),
            should_stop=sigterm_flag(),
        )
        # The batches of earlier attempts count as well: they have created no event.
        reports = reports_of(connection, dag_run.dag_id, dag_run.run_id)
        inserted, updated = (sum(report[name] for report in reports) for name in ("inserted", "updated"))
        if inserted or updated:
            note_written(
                CATALOG["image"],
                provider=NAME,
                inserted=inserted,
                updated=updated,
                complete=True,
                replayed=bool(params.get("replay")),
            )
        metrics.send_durations_of_run(connection, dag_run.dag_id, dag_run.run_id)
        return batches


@task
def drop_source_data(token: str, params: Params = GIVEN, dag_run: DagRun = GIVEN) -> None:
    """Record which dump is in the catalog, and drop its tables unless the conf keeps them."""
    with catalog_connection() as connection:
        dump.finish(
            connection,
            token,
            (dag_run.dag_id, dag_run.run_id),
            drop=bool(params.get("sql_rm_source_data_after_ingesting")),
        )


@task_group
def ingest_data() -> None:
    token: Any = check_for_file_updates()
    files = [
        task(task_id=f"load_{name}", execution_timeout=TIMEOUT)(load_file)(name, token) for name in FILES
    ]
    named: Any = name_taxa(token)
    [*files, load_catalog_of_life_names(token)] >> named
    checked: Any = check_dump(token)
    named >> checked
    load_image_data(token, checked) >> drop_source_data(token)


cls = provider_class(NAME)
with catalog_dag(
    dag_id_of(NAME),
    "provider",
    schedule=cls.schedule,
    doc=documentation(cls),
    tags=(*(f"provider: {m}" for m in cls.catalog_names), "ingestion: full"),
    params=_form(),
    example={"sql_rm_source_data_after_ingesting": False},
    media_types=tuple(cls.catalog_names),
    start_date=cls.start_date,
    max_active_tasks=2,
):
    ingest_data() >> report_load_completion()
