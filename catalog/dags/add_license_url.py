"""Adds `license_url` to the `meta_data` of images that lack it.

The images that lack it are grouped by license; each group is one batched update, one after the other. What else `meta_data` holds stays.
Licenses written in capitals are stored in small letters. A license that is none of Creative Commons' is skipped and named in an alert. So
are images whose `meta_data` is a text, a number, or a list that holds one: they are not changed, because an object has no place for it.
After a failure, clear the failed task: it goes on where it was. Only images are looked at.
"""

from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import batch_size_param, run_batched_update
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.slack import say
from catalog.notifications.messages import escaped

SENDER = "Airflow DAG Data Normalization - license_url"


def _groups() -> Any:
    from catalog.database.license_urls import groups

    with catalog_connection(autocommit=True) as connection:
        return groups(connection)


def _listed(groups: Any) -> str:
    return "".join(f"\n  - {escaped(g.license)} {escaped(g.version)}: {g.rows:,}" for g in groups)


@task(execution_timeout=timedelta(hours=5))
def get_license_groups() -> list[dict[str, Any]]:
    """The licenses of images without a URL, with the number of rows."""
    found = _groups()
    say(
        f"{sum(g.rows for g in found):,} images of {len(found)} licenses lack a license_url.{_listed(found)}",
        SENDER,
    )
    return [msgspec.to_builtins(g) for g in found]


@task(execution_timeout=timedelta(days=2), max_active_tis_per_dagrun=1, map_index_template="{{ license }}")
def update_license_url(group: dict[str, Any]) -> int:
    """Number of images of one license that were given its URL; skips a license that has none."""
    from catalog.database.license_urls import Group

    context: Any = get_current_context()
    found = Group(**group)
    context["license"] = f"{found.license} {found.version}"
    if found.url is None:
        raise AirflowSkipException(f"{found.license} {found.version} is no license of Creative Commons.")
    return int(
        run_batched_update(found.query_id, found.update(), batch_size=context["params"]["batch_size"]).updated
    )


@task(trigger_rule="all_done")
def report_completion(updated: Any) -> str:
    """How many were given a URL, how many still lack one; an alert when those have licenses nobody knows."""
    done = sum(n for n in updated or () if n)
    left = _groups()
    unknown = [g for g in left if g.url is None]
    text = f"license_url was added to {done:,} images; {sum(g.rows for g in left):,} still lack it."
    say(text, SENDER)
    if unknown:
        say(
            f"*Licenses that are none of Creative Commons'*; their images have no license_url:{_listed(unknown)}",
            SENDER,
            alert=True,
        )
    if odd := sum(g.left for g in left):
        say(
            f"*Images whose meta_data is no object*; they have no license_url, and were not changed: {odd:,}. "
            "They are those with `jsonb_typeof(meta_data) <> 'object'`.",
            SENDER,
            alert=True,
        )
    return text


with catalog_dag(
    "add_license_url",
    "data_normalization",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params={"batch_size": batch_size_param()},
    example={"batch_size": 5000},
):
    report_completion(update_license_url.expand(group=get_license_groups()))
