"""DAGs whose newest run has failed, from Airflow's database: when, in which task, and why.

Airflow's models cannot be used below the DAGs, so the columns that are read are named here.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    DateTime,
    NullPool,
    and_,
    column,
    create_engine,
    exists,
    func,
    or_,
    select,
    table,
    tuple_,
)
from sqlalchemy.orm import Session

from catalog.core.airflow_names import FAILURE, HELD, WATCHER
from catalog.monitoring.finding import Finding, in_order

Key: TypeAlias = tuple[str, str]  # DAG id, run id
FAILED = "failed"
_FINISHED = ("success", FAILED)
# Keys of a conf by which a pull asks the provider for nothing, or for a part only.
_NARROWED = ("replay", "limit", "initial_query_params", "query_params_list")
_NOTHING = ("", "0", "[]", "{}")  # values by which it does not

_DAG = table("dag", column("dag_id"), column("is_stale"))
_ENDED = DateTime(timezone=True)
_RUN = table(
    "dag_run",
    column("id"),
    column("dag_id"),
    column("run_id"),
    column("state"),
    column("end_date", _ENDED),
    column("conf", JSON),
)
_TASK = table(
    "task_instance",
    column("dag_id"),
    column("run_id"),
    column("task_id"),
    column("map_index"),
    column("state"),
    column("end_date", _ENDED),
)
_XCOM = table(
    "xcom",
    column("dag_run_id"),
    column("dag_id"),
    column("run_id"),
    column("task_id"),
    column("map_index"),
    column("key"),
    column("value", JSON),
)


class _Task(NamedTuple):
    """The first task of a run that failed, and why; None if it could not say so."""

    task_id: str
    map_index: int
    reason: object


def of_database(address: str, seconds: int) -> dict[Key, Finding]:
    """Return the failed runs of the DAGs that Airflow's files still define.

    Args:
        address: Address of Airflow's database, as SQLAlchemy takes it.
        seconds: Limit of the time for a connection to a server.
    """
    limits = {"connect_timeout": seconds} if address.startswith("postgres") else {}
    engine = create_engine(address, poolclass=NullPool, connect_args=limits)
    with engine.connect() as connection:
        defined = connection.scalars(select(_DAG.c.dag_id).where(_DAG.c.is_stale.is_(False)))
        return failed_runs(connection, list(defined))


def failed_runs(airflow: Connection | Session, dag_ids: Collection[str]) -> dict[Key, Finding]:
    """Return a finding for each DAG whose newest run has failed.

    Args:
        airflow: Airflow's database.
        dag_ids: The DAGs.
    """
    ended = _failed(airflow, dag_ids)
    tasks = _first_failed_tasks(airflow, list(ended))
    return {key: _finding(key, moment, tasks.get(key)) for key, moment in ended.items()}


def _finding(run: Key, ended: datetime, task: _Task | None) -> Finding:
    where = f" in {task.task_id}" if task else ""  # a timeout, for example, is of the whole run
    text = f"the newest run failed{where} on {ended:%Y-%m-%d %H:%M}"
    if task is None:
        return Finding("error", run[0], text, "failed-task", *run)
    text += f": {task.reason}" if isinstance(task.reason, str) else "; the log of the task says why"
    return Finding("error", run[0], text, "failed-task", *run, task.task_id, task.map_index)


def merged(findings: Iterable[Finding], failed: dict[Key, Finding]) -> list[Finding]:
    """Add the failed runs that no other error explains, and their logs to the errors that explain them."""
    findings = list(findings)
    explained = {(finding.dag_id, finding.run_id) for finding in findings if finding.severity == "error"}
    every = [run for key, run in failed.items() if key not in explained]
    for finding in findings:
        run = failed.get((finding.dag_id, finding.run_id)) if finding.severity == "error" else None
        every.append(
            msgspec.structs.replace(finding, task_id=run.task_id, map_index=run.map_index) if run else finding
        )
    return in_order(every)


def _failed(airflow: Connection | Session, dag_ids: Collection[str]) -> dict[Key, datetime]:
    """Return when the newest run of each DAG ended, if it has failed.

    That is the run that ended last: one that waits or runs says nothing yet. A replay does not, because
    it asks the provider for nothing, nor does a limited pull: whoever tries one sees its end. Nor does the
    success of a run of a held schedule, whose tasks were skipped.
    """
    latest = func.row_number().over(
        partition_by=_RUN.c.dag_id, order_by=(_RUN.c.end_date.desc(), _RUN.c.id.desc())
    )
    held = exists().where(_XCOM.c.dag_run_id == _RUN.c.id, _XCOM.c.key == HELD)
    ended = (
        select(_RUN.c.dag_id, _RUN.c.run_id, _RUN.c.state, _RUN.c.end_date, latest.label("n"))
        .where(_RUN.c.dag_id.in_(dag_ids), _RUN.c.state.in_(_FINISHED))
        .where(or_(_RUN.c.state == FAILED, ~held), *map(_is_unset, _NARROWED))
        .subquery()
    )
    newest = select(ended.c.dag_id, ended.c.run_id, ended.c.end_date).where(
        ended.c.n == 1, ended.c.state == FAILED
    )
    return {(dag_id, run_id): _in_utc(moment) for dag_id, run_id, moment in airflow.execute(newest)}


def _is_unset(key: str) -> ColumnElement[bool]:
    value = _RUN.c.conf[key].as_string()
    return or_(value.is_(None), value.in_(_NOTHING))


def _first_failed_tasks(airflow: Connection | Session, runs: Sequence[Key]) -> dict[Key, _Task]:
    """Return the task of each run that failed first, without the watcher, which only follows."""
    if not runs:
        return {}
    reason = and_(
        *(_XCOM.c[name] == _TASK.c[name] for name in ("dag_id", "run_id", "task_id", "map_index")),
        _XCOM.c.key == FAILURE,
    )
    query = (
        select(_TASK.c.dag_id, _TASK.c.run_id, _TASK.c.task_id, _TASK.c.map_index, _XCOM.c.value)
        .select_from(_TASK.outerjoin(_XCOM, reason))
        .where(tuple_(_TASK.c.dag_id, _TASK.c.run_id).in_(runs))
        .where(_TASK.c.state == FAILED, _TASK.c.task_id != WATCHER)
        .order_by(_TASK.c.end_date.desc())
    )
    return {(dag_id, run_id): _Task(*task) for dag_id, run_id, *task in airflow.execute(query)}


def _in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC; SQLite keeps it without a time zone."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
