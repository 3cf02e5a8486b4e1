"""Adds `license_url` to the `meta_data` of images that lack it.

Images without it are grouped by license. Each group is one batched update; groups are updated one after the
other. Other keys of `meta_data` stay. Upper-case licenses are stored in lower case. A license that Creative
Commons does not have is skipped and named in an alert. So are images whose `meta_data` is a string, a number,
or a list that contains one: they are not changed, because there is no object to add the key to. After a
failure, clear the failed task: it resumes where it stopped. Audio is not changed.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.params import batch_size_param
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import run_batched_update
from catalog.dags.operators.slack import notify, notify_end
from catalog.database.license_urls import Group, groups
from catalog.notifications.message import escaped

SENDER = "Airflow DAG Data Normalization - license_url"


def _groups() -> list[Group]:
    with catalog_connection(autocommit=True) as connection:
        return groups(connection)


def _listed(found: Iterable[Group]) -> list[str]:
    return [f"  - {escaped(g.license)} {escaped(g.version)}: {g.rows:,}" for g in found]


@task(execution_timeout=timedelta(hours=5))
def get_license_groups() -> list[dict[str, Any]]:
    """Return the licenses of images without a URL, with the number of rows of each."""
    licenses = _groups()
    rows = sum(g.rows for g in licenses)
    text = f"{rows:,} images of {len(licenses)} licenses lack a license_url."
    notify("Images without license_url", SENDER, text, lines=_listed(licenses))
    return [msgspec.to_builtins(g) for g in licenses]


@task(
    execution_timeout=timedelta(days=2),
    max_active_tis_per_dagrun=1,
    map_index_template="{{ task.op_kwargs.group.license }} {{ task.op_kwargs.group.version }}",
    outlets=[CATALOG["image"]],
)
def update_license_url(group: dict[str, Any], params: Params = GIVEN) -> int:
    """Set the URL of one license and return the number of images changed; skipped if it has no URL."""
    found = Group(**group)
    if found.url is None:
        raise AirflowSkipException(f"{found.license} {found.version} is not a Creative Commons license.")
    updated = run_batched_update(found.query_id, found.update(), batch_size=params["batch_size"]).updated
    if updated:
        note_written(CATALOG["image"], query_id=found.query_id, updated=updated)
    return updated


@task(trigger_rule="all_done")
def report_completion(updated: Any) -> str:
    """Report the numbers of images changed and left; alert on unknown licenses and odd `meta_data`."""
    done = sum(number or 0 for number in updated or ())
    left = _groups()
    summary = f"license_url was added to {done:,} images; {sum(g.rows for g in left):,} still lack it."
    if unknown := [g for g in left if g.url is None]:
        text = "*Licenses that are none of Creative Commons'*; their images have no license_url:"
        notify("Unknown licenses", SENDER, text, lines=_listed(unknown), alert=True)
    if odd := sum(g.left for g in left):
        text = (
            "*Images whose meta_data is not an object*; they have no license_url, and were not changed: "
            f"{odd:,}. They are those with `jsonb_typeof(meta_data) <> 'object'`."
        )
        notify("Odd meta_data", SENDER, text, alert=True)
    return notify_end("license_url added", SENDER, summary)


with catalog_dag(
    "add_license_url",
    "data_normalization",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params={"batch_size": batch_size_param()},
    example={"batch_size": 5000},
    media_types=("image",),
):
    report_completion(update_license_url.expand(group=get_license_groups()))
