"""The first page: what needs a person now, and how the catalog grows."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from catalog.core.setting import Setting
from catalog.core.settings import (
    CATALOG_DB,
    CONFIGURATION_OVERRIDES,
    HELD_SCHEDULES,
    SEARCH_ENGINE_NODES,
    SILENCED_SLACK_NOTIFICATIONS,
    SKIPPED_INGESTION_ERRORS,
    TAG_POLICY,
)
from catalog.core.wording import meant
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.maintenance.silenced import STALE
from catalog.monitoring.failed_runs import Key, failed_runs, merged
from catalog.monitoring.finding import Finding, Findings, unknown
from catalog.monitoring.misnamed import from_environment, misnamed
from catalog.monitoring.summary import summarize
from catalog.plugins.dashboard import airflow_state, connections, errors, variables
from catalog.plugins.dashboard.access import HiddenDags, ReadableDags
from catalog.plugins.dashboard.issues import issues
from catalog.plugins.dashboard.rendering import Page

router = APIRouter()
SILENCING: tuple[Setting[Any], ...] = (SILENCED_SLACK_NOTIFICATIONS, SKIPPED_INGESTION_ERRORS)
NEWEST = 8  # loads
BROKEN = "broken_providers.py"  # the DAG file that stands for all providers that cannot be imported
T = TypeVar("T")


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
def show(session: SessionDep, readable: ReadableDags, hidden: HiddenDags) -> HTMLResponse:
    """Show the page. A part that cannot be read is a finding."""
    page, airflow = Page(), Findings()
    by_dag: dict[str, Mapping[str, Any]] = {}
    missing = True  # DAGs may be, because of files that Airflow cannot import
    scheduled = None
    failed: dict[Key, Finding] = {}
    with airflow.part("Airflow's database", errors.explained):
        schedules = airflow_state.schedules(session, readable)
        failed = failed_runs(session, list(schedules), page.now)
        failed_imports = airflow_state.failed_imports(session)
        airflow.findings += lost(session, failed_imports)
        airflow.findings += misnamed([*airflow_state.names_set(session), *from_environment(os.environ)])
        missing = bool(failed_imports)
        scheduled = [dag_id for dag_id, schedule in schedules.items() if not schedule.paused]
    with airflow.part(HELD_SCHEDULES.name, errors.explained):
        holds = _value_of(HELD_SCHEDULES, airflow.unread)
        by_dag[HELD_SCHEDULES.name] = holds
        known_holds = {name: holds[name] for name in holds if missing or name in readable | hidden}
        airflow.findings += held(session, known_holds)
    with airflow.part(CONFIGURATION_OVERRIDES.name, errors.explained):
        overrides = _value_of(CONFIGURATION_OVERRIDES, airflow.unread)
        by_dag[CONFIGURATION_OVERRIDES.name] = overrides
    with airflow.part(TAG_POLICY.name, errors.explained):
        policy_from(_value_of(TAG_POLICY, airflow.unread))
    silenced = list(_silenced(airflow, by_dag))
    airflow.findings += stale(silenced)
    if not missing:
        airflow.findings += without_effect(by_dag, readable, hidden)
    nodes = None
    with airflow.part(SEARCH_ENGINE_NODES.name, errors.explained):
        nodes = _value_of(SEARCH_ENGINE_NODES, airflow.unread).production
    known = summarize(
        lambda: connections.database(CATALOG_DB),
        connections.engine,
        errors.explained,
        page.now,
        scheduled,
        nodes,
    )
    unread = [*airflow.unread, *known.unread]
    visible = [one for one in (*known.findings, *airflow.findings) if one.dag_id not in hidden]
    return page.render(
        "health.html",
        findings=merged([*visible, *unread], failed),
        unread=unread,
        silenced=[one for one in silenced if one.dag_id not in hidden],
        newest=[one for one in known.newest or () if one[1].dag_id not in hidden][:NEWEST],
        hides=any(load.dag_id in hidden for _, load in known.newest or ()),
        records=known.records,
        growth=known.growth,
        dataset=known.dataset,
    )


def lost(session: Session, failed_imports: Iterable[str]) -> list[Finding]:
    """Return the files and DAGs that Airflow cannot run.

    Args:
        session: Session of Airflow's database.
        failed_imports: Paths of the files whose DAGs could not be imported.
    """
    findings = []
    for file in failed_imports:
        text = "Airflow cannot import its DAGs; the error is on Airflow's first page"
        if file.endswith(BROKEN):
            text = "Airflow cannot import a provider, whose DAG is missing; its first page has the error"
        findings.append(Finding("error", file, text, "lost-dag"))
    for dag_id in sorted(airflow_state.stale_dags(session)):
        text = "Airflow no longer finds this DAG, so it does not run; delete it there if it was removed"
        findings.append(Finding("error", dag_id, text, "lost-dag", dag_id))
    return findings


def held(session: Session, schedules: dict[str, Any]) -> list[Finding]:
    """Return the DAGs whose scheduled runs do nothing, although no triggered run of them is active.

    Args:
        session: Session of Airflow's database.
        schedules: Value of `HELD_SCHEDULES`: DAG id → reason.
    """
    active = airflow_state.active_dags(session, schedules)
    text = "its scheduled runs skip all tasks, because HELD_SCHEDULES lists it: {}"
    return [
        Finding("warning", dag_id, text.format(reason), "held", dag_id)
        for dag_id, reason in schedules.items()
        if dag_id not in active
    ]


def without_effect(
    by_dag: Mapping[str, Iterable[str]], readable: set[str], hidden: set[str]
) -> Iterator[Finding]:
    """Yield the entries of settings that name a DAG which does not exist, such as a mistyped one.

    Args:
        by_dag: Name of a Variable → ids of the DAGs that it names.
        readable: Ids of the DAGs that the user may read, which may be suggested.
        hidden: Those of the other DAGs.
    """
    for variable, named in by_dag.items():
        for dag_id in sorted({*named} - readable - hidden):
            text = f"its entry for {dag_id} does nothing, because there is no such DAG"
            if suggestion := meant(dag_id, readable):
                text += f"; {suggestion}"
            yield Finding("warning", variable, text, "no-such-dag")


def stale(silenced: Iterable[Silenced]) -> list[Finding]:
    """Return the entries whose issue is known not to be open."""
    text = "an entry of {} refers to no open issue ({}): {}"
    return [
        Finding(
            "warning",
            entry.dag_id,
            text.format(entry.variable, entry.state, entry.issue),
            "silenced",
            entry.dag_id,
        )
        for entry in silenced
        if entry.state in STALE
    ]


def _value_of(setting: Setting[T], unread: list[Finding]) -> T:
    """Return the value of a Variable; its malformed entries are findings."""
    problems: list[str] = []
    value = variables.value_of(setting, problems)
    unread += [unknown(setting.name, problem) for problem in problems]
    return value


def _silenced(known: Findings, by_dag: dict[str, Mapping[str, Any]]) -> Iterator[Silenced]:
    for setting in SILENCING:
        with known.part(setting.name, errors.explained):
            by_dag[setting.name] = _value_of(setting, known.unread)
            for dag_id, entries in by_dag[setting.name].items():
                for entry in entries:
                    state = issues.state(entry.issue)
                    yield Silenced(setting.name, dag_id, entry.predicate, entry.issue, state)
