"""Removes the thumbnails of all Flickr images in the catalog.

Flickr's old thumbnails are too small to be shown; without one, a thumbnail is made from the image itself. The
DAG is needed once, because the provider's DAG no longer stores them. After a failure, clear the failed task:
it resumes where it stopped.
"""

from datetime import timedelta

from airflow.sdk import task

from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, DagRun
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import run_batched_update
from catalog.dags.operators.slack import notify
from catalog.database.statements import parse_update

QUERY_ID = "flickr_thumbnails_removal"
WHERE = "WHERE provider = 'flickr' AND thumbnail IS NOT NULL"


def _count() -> int:
    with catalog_connection(autocommit=True) as connection:
        query = "select count(*) from image where provider = 'flickr' and thumbnail is not null"
        found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


@task(execution_timeout=timedelta(hours=24))
def count() -> int:
    """Return the number of thumbnails."""
    return _count()


@task(execution_timeout=timedelta(days=7), outlets=[CATALOG["image"]])
def delete() -> int:
    """Return the number of thumbnails removed."""
    update = parse_update("image", "SET updated_on = now(), thumbnail = NULL", WHERE)
    updated = run_batched_update(QUERY_ID, update).updated
    if updated:
        note_written(CATALOG["image"], query_id=QUERY_ID, updated=updated)
    return updated


@task
def report(before: int, removed: int, dag_run: DagRun = GIVEN) -> str:
    return notify(
        "Thumbnails removed",
        "Airflow",
        f"{removed:,} of {before:,} Flickr thumbnails are removed, {_count():,} are left. "
        f"With none left, `{dag_run.dag_id}` can be retired.",
        completion=True,
    )


with catalog_dag(
    "flickr_thumbnails_removal",
    "other",
    schedule=None,
    doc=(__doc__ or "").strip(),
    example={},
    media_types=("image",),
):
    counted, removed = count(), delete()
    counted >> removed
    report(counted, removed)  # type: ignore[arg-type]
