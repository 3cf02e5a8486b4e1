"""Removes the thumbnails of all Flickr images in the catalog.

Flickr's old thumbnails are too small to be shown; without one, a thumbnail is made of the image itself. Needed once: the provider's DAG
stores none any more. After a failure, clear the failed task: it goes on where it was.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context, task

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import run_batched_update
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.slack import say

QUERY_ID = "flickr_thumbnails_removal"
WHERE = "WHERE provider = 'flickr' AND thumbnail IS NOT NULL"


def _count() -> int:
    with catalog_connection(autocommit=True) as connection:
        found = connection.execute(
            "select count(*) from image where provider = 'flickr' and thumbnail is not null"
        ).fetchone()
    return int(found[0]) if found else 0


@task(execution_timeout=timedelta(hours=24))
def count() -> int:
    """Number of thumbnails there are."""
    return _count()


@task(execution_timeout=timedelta(days=7))
def delete() -> int:
    """Number of thumbnails removed."""
    from catalog.database.statements import parse_update

    return int(
        run_batched_update(
            QUERY_ID, parse_update("image", "SET updated_on = now(), thumbnail = NULL", WHERE)
        ).updated
    )


@task
def report(before: int, removed: int) -> str:
    context: Any = get_current_context()
    dag_id = context["dag_run"].dag_id
    text = f"{removed:,} of {before:,} Flickr thumbnails are removed, {_count():,} are left. With none left, `{dag_id}` can be retired."
    say(text, "Airflow")
    return text


with catalog_dag(
    "flickr_thumbnails_removal", "other", schedule=None, doc=(__doc__ or "").strip(), example={}
):
    counted, removed = count(), delete()
    counted >> removed
    report(counted, removed)  # type: ignore[arg-type]
