"""The task that loads TSV parts into the catalog."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from airflow.sdk import Context, get_current_context
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.airflow_names import LOADED
from catalog.core.errors import CatalogError, Fatal, NotWhole
from catalog.core.media import MediaType
from catalog.dags.common import metrics
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection
from catalog.dags.tasks.provider_run import ProviderRun
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.shortfalls import not_whole
from catalog.loading.load import Load
from catalog.loading.report import LoadKey

log = logging.getLogger(__name__)


def load(
    provider: str, media_type: MediaType, day_shift: int, pulled: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Load the records that the pull wrote, also when it failed; skipped if there are none to load.

    Args:
        provider: Its name.
        media_type: The media type to load.
        day_shift: Days before the first day of the run's interval, for a reingestion.
        pulled: What the pull returned; None if it has not succeeded.

    Returns:
        The report, for XCom.

    Raises:
        NotWhole: Everything is loaded, but it is less than usual.
        Fatal: Nothing is loaded, because the parts are not those of the manifest, or those that the pull has
            written are not there.
    """
    context = get_current_context()
    params, run = context["params"], context["dag_run"]
    try:
        job = ProviderRun(provider, context, day_shift)
    except CatalogError as error:
        if pulled:
            raise
        raise AirflowSkipException(f"nothing was pulled: {error}") from None
    parts, name = job.parts(), job.provider.catalog_names[media_type]
    manifest = parts.load()
    if pulled:
        require_all(manifest, parts, pulled)
    if manifest is None or not (manifest.pages or manifest.complete):
        raise AirflowSkipException("the pull left nothing to load.")
    if not manifest.complete:
        reason = (manifest.error or "The pull was killed").rstrip(".")
        log.warning("%s; loading the %d pages it read.", reason, manifest.pages)
    with catalog_connection() as connection:
        loading = Load(
            connection,
            media_type,
            name,
            parts.tsv_files(media_type, manifest),
            manifest,
            LoadKey(run.dag_id, run.run_id, day_shift),
            include_deleted=bool(params.get("include_deleted")),
            rejects=parts.folder / f"load_{media_type}.rejects.jsonl",
            expected=job.provider.expectations(),
        )
        report = loading.run()
    if loading.repeated and not pulled and is_first_try(context):
        raise AirflowSkipException("the pull has failed, and all that it had read before was loaded then.")
    context["ti"].xcom_push(LOADED, manifest.token)
    if not loading.repeated:
        metrics.count_load(report)
    metrics.send_durations(name, media_type, report.pull_seconds, report.load_seconds)
    log.info("loaded: %s", report)
    if report.unusual and not report.accepted:
        raise NotWhole(not_whole(name, media_type, report.unusual, job.accepting()))
    if report.inserted or report.updated:
        note_written(
            CATALOG[media_type],
            provider=name,
            window=f"{job.window}" if job.window else None,
            inserted=report.inserted,
            updated=report.updated,
            complete=report.complete,
            replayed=report.replayed,
        )
    return msgspec.to_builtins(report)  # type: ignore[no-any-return]


def is_first_try(context: Context) -> bool:
    """Return whether a task is tried for the first time in its run, or since it was cleared."""
    ti = context["ti"]
    return (ti.max_tries or 0) - ti.try_number >= (context["task"].retries or 0) - 1


def require_all(manifest: Manifest | None, parts: Parts, pulled: Mapping[str, Any]) -> None:
    """Require that this worker sees all that a successful pull wrote, and nothing else.

    Args:
        manifest: The manifest in the folder, if there is one.
        parts: The folder.
        pulled: What the pull returned; by releases before this comparison, without `token`.

    Raises:
        Fatal: The folder holds less, or another pull.
    """
    there = manifest.pages if manifest else 0
    if manifest and pulled.get("token", manifest.token) != manifest.token:
        raise Fatal(
            f"{parts.folder} does not hold the pull that has ended, but one that began at "
            f"{manifest.started:%Y-%m-%d %H:%M}; clear the pull when its run has ended."
        )
    if manifest is None or not manifest.complete or there != pulled["pages"]:
        raise Fatal(
            f"the pull has read {pulled['pages']:,} pages, but {parts.folder} has {there:,} of them. All "
            "workers must see the folder of OBJECT_STORAGE; if it was emptied, clear the pull when its "
            "run has ended."
        )
