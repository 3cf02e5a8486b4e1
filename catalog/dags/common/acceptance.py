"""What the run of a task accepts of what checks refuse; see `catalog.database.refusals`."""

from collections.abc import Mapping

from airflow.sdk import get_current_context

from catalog.core.accepting import accepting
from catalog.core.jsontypes import Json
from catalog.core.queries import database_time
from catalog.dags.common.connections import catalog_connection
from catalog.database import refusals
from catalog.database.refusals import Acceptance, Found, Judged
from catalog.notifications.message import escaped


def accepting_conf(key: str, value: Json = True) -> str:
    """Return the conf of a run that does the same as this one, and accepts; arguments as of `accepting`."""
    return accepting(get_current_context()["dag_run"].conf, key, value)


def acceptance(key: str = "accept_shrinkage", value: Json = True, *, given: bool | None = None) -> Acceptance:
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
        given=bool(context["params"].get(key)) if given is None else given,
        dag_id=run.dag_id,
        run_id=run.run_id,
        cleared=run.clear_number or 0,
        began=began,
        conf=accepting_conf(key, value),
    )


class RunJudge:
    """Judges findings for an attempt of a task; to be made when it begins.

    What it notes stays when the work of the task is rolled back: it opens a new connection each time.

    Args:
        follows: Kind of loss → another one of which it is the consequence; see `refusals.judge`.
        asked: What the run accepts; by default, what its conf accepts with `accept_shrinkage`.
    """

    def __init__(self, follows: Mapping[str, str] | None = None, *, asked: Acceptance | None = None) -> None:
        self._acceptance, self._follows = asked or acceptance(), follows

    def __call__(self, found: Found) -> Judged:
        with catalog_connection(autocommit=True) as catalog:
            return refusals.judge(catalog, found, self._acceptance, self._follows)


def accepted_lines() -> list[str]:
    """Return what the run of this task has accepted, as lines of its report."""
    run = get_current_context()["dag_run"]
    with catalog_connection(autocommit=True) as catalog:
        texts = refusals.accepted_by(catalog, run.dag_id, run.run_id)
    return [f"  - accepted, as it was reported before: {escaped(text)}" for text in texts]
