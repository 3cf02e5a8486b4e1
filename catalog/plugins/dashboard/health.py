"""The first page: what needs a person now, and how the catalog grows."""

from collections.abc import Iterator
from typing import Any

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from catalog.core.setting import Setting
from catalog.core.settings import SILENCED_SLACK_NOTIFICATIONS, SKIPPED_INGESTION_ERRORS, TAG_POLICY
from catalog.data_refresh.tag_policy import policy_from
from catalog.monitoring import counts, loads, refreshes
from catalog.monitoring import health as findings
from catalog.monitoring.health import Finding
from catalog.plugins.dashboard import airflow_state, sources
from catalog.plugins.dashboard.access import ReadableDags
from catalog.plugins.dashboard.issues import issues
from catalog.plugins.dashboard.rendering import Page

router = APIRouter()
SILENCING: tuple[Setting[Any], ...] = (SILENCED_SLACK_NOTIFICATIONS, SKIPPED_INGESTION_ERRORS)
NEWEST = 8  # loads


class Silenced(msgspec.Struct, frozen=True):
    """An entry of a Variable that silences messages or passes over errors.

    Attributes:
        variable: Name of the Variable.
        dag_id: The DAG whose messages or errors it matches.
        predicate: What they contain.
        issue: URL of its issue.
        state: State of the issue.
    """

    variable: str
    dag_id: str
    predicate: str
    issue: str
    state: str


@router.get("/", response_class=HTMLResponse)
def show(session: SessionDep, readable: ReadableDags) -> HTMLResponse:
    """Show the page. A part that fails is replaced by its error."""
    page, found, scheduled = Page(), list[Finding](), list[str]()
    shown: dict[str, Any] = {"records": {}, "growth": [], "newest": []}
    failed: dict[tuple[str, str], Finding] = {}
    with sources.part(page.problems, "Airflow's database"):
        schedules = airflow_state.schedules(session, readable)
        scheduled = [dag_id for dag_id, schedule in schedules.items() if not schedule.paused]
        failed = failed_runs(session, list(schedules))
    with sources.part(page.problems, "the catalog database"), sources.database(sources.CATALOG) as connection:
        wrong, newest = findings.of_catalog(connection, page.now, scheduled)
        found += wrong
        shown |= {
            "records": counts.records(connection),
            "growth": loads.growth(connection, page.now),
            "newest": newest[:NEWEST],
        }
    with sources.part(page.problems, "the search engine"):
        found += findings.of_engine(refreshes.engine(sources.engine()))
    with sources.part(page.problems, TAG_POLICY.name):
        policy_from(sources.value_of(TAG_POLICY, page.problems))
    silenced = list(_silenced(page))
    found += [_stale(entry) for entry in silenced if entry.state in ("closed", "missing")]
    return page.render("health.html", findings=merged(found, failed), silenced=silenced, **shown)


def failed_runs(session: Session, dag_ids: list[str]) -> dict[tuple[str, str], Finding]:
    """Return (DAG id, run id) → finding, for DAGs whose newest run has failed."""
    failed = [run for run in airflow_state.newest_runs(session, dag_ids) if run.state == airflow_state.FAILED]
    tasks = airflow_state.failed_tasks(session, failed)
    found = {}
    for run in failed:
        key = run.dag_id, run.run_id
        task = tasks.get(key)
        text = f"the newest run failed in {task.task_id}" if task else "the newest run failed"
        about = (task.task_id, task.map_index) if task else ("", -1)
        found[key] = Finding("error", run.dag_id, text, "failed-task", *key, *about)
    return found


def merged(found: list[Finding], failed: dict[tuple[str, str], Finding]) -> list[Finding]:
    """Add the failed runs that no other finding explains, and their logs to those that explain them."""
    explained = {(one.dag_id, one.run_id) for one in found}
    every = [run for key, run in failed.items() if key not in explained]
    for one in found:
        run = failed.get((one.dag_id, one.run_id))
        every.append(
            msgspec.structs.replace(one, task_id=run.task_id, map_index=run.map_index) if run else one
        )
    return findings.in_order(every)


def _silenced(page: Page) -> Iterator[Silenced]:
    for setting in SILENCING:
        with sources.part(page.problems, setting.name):
            for dag_id, entries in sources.value_of(setting, page.problems).items():
                for entry in entries:
                    state = issues.state(entry.issue)
                    yield Silenced(setting.name, dag_id, entry.predicate, entry.issue, state)


def _stale(entry: Silenced) -> Finding:
    text = f"an entry of {entry.variable} refers to an issue that is {entry.state}: {entry.issue}"
    return Finding("warning", entry.dag_id, text, "silenced", entry.dag_id)
