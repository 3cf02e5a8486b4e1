"""What the run of a task accepts of what checks refuse; see `catalog.database.refusals`."""

from typing import Any

from airflow.sdk import get_current_context

from catalog.core.accepting import accepting
from catalog.core.jsontypes import Json
from catalog.core.queries import database_time
from catalog.dags.common.connections import catalog_connection
from catalog.database.refusals import Acceptance


def accepting_conf(key: str, value: Json = True) -> str:
    """Return the conf of a run that does the same as this one, and accepts; arguments as of `accepting`."""
    return accepting(get_current_context()["dag_run"].conf, key, value)


def acceptance(key: str = "accept_shrinkage", value: Json = True, given: Any = None) -> Acceptance:
    """Return whether the run of this task accepts what was reported; to be called when an attempt begins.

    Args:
        key: Key of the conf that accepts.
        value: Its value in the conf that a message names.
        given: Whether the run accepts; by default, whether its conf has the key.
    """
    context = get_current_context()
    run = context["dag_run"]
    with catalog_connection(autocommit=True) as catalog:
        began = database_time(catalog)
    return Acceptance(
        given=bool(context["params"].get(key) if given is None else given),
        run=f"{run.dag_id} {run.run_id} {run.clear_number}",
        began=began,
        dag_id=run.dag_id,
        conf=accepting_conf(key, value),
    )
