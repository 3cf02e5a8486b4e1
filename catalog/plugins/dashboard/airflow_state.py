"""Runs and tasks from Airflow's metadata database, of the DAGs that a user may read."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from airflow.models.connection import Connection
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.errors import ParseImportError
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.state import State
from sqlalchemy import and_, case, func, or_, select, tuple_
from sqlalchemy.orm import Session

from catalog.core.airflow_names import WAITS_FOR, WATCHER
from catalog.monitoring.failed_runs import FAILED
from catalog.monitoring.misnamed import Given, Place


class Schedule(msgspec.Struct, frozen=True):
    """The schedule of a DAG.

    Attributes:
        paused: Its schedule is switched off.
        next_run: When its next run is due; None without a schedule.
    """

    paused: bool
    next_run: datetime | None


class Run(msgspec.Struct, frozen=True):
    """A run of a DAG.

    Attributes:
        dag_id: Its DAG.
        run_id: Its id.
        state: Airflow's state, such as `success`.
        run_after: When it was due.
        started: When it started; None before that.
        ended: When it ended; None before that.
    """

    dag_id: str
    run_id: str
    state: str
    run_after: datetime
    started: datetime | None
    ended: datetime | None


class Waiting(msgspec.Struct, frozen=True):
    """A run that has not begun its work.

    Attributes:
        run: The run.
        others: The runs for which it waits, as its task has noted them; "" if it is queued.
    """

    run: Run
    others: str


class Step(msgspec.Struct, frozen=True):
    """A task of a run; all instances of a mapped task together.

    Attributes:
        task_id: The task.
        started: When its first instance started.
        ended: When its last instance ended; None if one has not.
        instances: Number of instances.
        failed: Number of failed instances.
    """

    task_id: str
    started: datetime
    ended: datetime | None
    instances: int
    failed: int


def known_dags(session: Session) -> set[str]:
    """Return the ids of all DAGs, also of those whose file no longer defines them."""
    return set(session.scalars(select(DagModel.dag_id)))


def stale_dags(session: Session) -> set[str]:
    """Return the ids of the DAGs that their file no longer defines."""
    return set(session.scalars(select(DagModel.dag_id).where(DagModel.is_stale)))


def failed_imports(session: Session) -> list[str]:
    """Return the paths of the files whose DAGs could not be imported; the errors are not for every user."""
    return sorted(file or "unknown" for file in session.scalars(select(ParseImportError.filename)))


def names_set(session: Session) -> Iterator[Given]:
    """Yield the names of the Variables, connections and pools that Airflow has stored."""
    stored: dict[Place, Any] = {"Variable": Variable.key, "connection": Connection.conn_id, "pool": Pool.pool}
    for place, column in stored.items():
        for name in session.scalars(select(column)):
            yield Given(place, name, name)


def schedules(session: Session, readable: Collection[str]) -> dict[str, Schedule]:
    """Return the schedule of each DAG that its file still defines."""
    query = select(DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after).where(
        DagModel.dag_id.in_(readable), DagModel.is_stale.is_(False)
    )
    return {dag_id: Schedule(paused, due) for dag_id, paused, due in session.execute(query)}


def active_dags(session: Session, dag_ids: Collection[str]) -> set[str]:
    """Return the DAGs of which a run waits or is running."""
    unfinished = DagRun.state.in_(State.unfinished_dr_states)
    return set(session.scalars(select(DagRun.dag_id).where(DagRun.dag_id.in_(dag_ids), unfinished)))


def runs(session: Session, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Run]:
    """Return (DAG id, run id) → run, without those that Airflow has forgotten."""
    if not keys:
        return {}
    query = _RUNS.where(tuple_(DagRun.dag_id, DagRun.run_id).in_(keys))
    return {(run.dag_id, run.run_id): run for run in map(_run, session.execute(query))}


def waiting(session: Session, dag_id: str) -> list[Waiting]:
    """Return the runs of a DAG that are queued, or wait for other runs; the one that was due first first."""
    note = and_(XComModel.dag_run_id == DagRun.id, XComModel.key == WAITS_FOR)
    same = and_(*(getattr(TaskInstance, n) == getattr(XComModel, n) for n in ("dag_id", "run_id", "task_id")))
    waits = and_(DagRun.state == "running", TaskInstance.state.in_(State.unfinished))
    query = (
        _RUNS.add_columns(XComModel.value)
        .outerjoin(XComModel, note)
        .outerjoin(TaskInstance, same)
        .where(DagRun.dag_id == dag_id, or_(DagRun.state == "queued", waits))
        .order_by(DagRun.run_after)
    )
    return [
        Waiting(run := _run(row), str(others or "") if run.state == "running" else "")
        for *row, others in session.execute(query)
    ]


def steps(session: Session, run: Run) -> list[Step]:
    """Return the tasks of a run that have started, in the order in which they did."""
    of = TaskInstance
    ended = case((func.count() == func.count(of.end_date), func.max(of.end_date)))
    query = (
        select(
            of.task_id,
            func.min(of.start_date),
            ended,
            func.count(),
            func.sum(case((of.state == FAILED, 1), else_=0)),
        )
        .where(of.dag_id == run.dag_id, of.run_id == run.run_id, of.start_date.is_not(None))
        .group_by(of.task_id)
        .order_by(func.min(of.start_date))
    )
    return [Step(*row) for row in session.execute(query) if row[0] != WATCHER]


_RUNS = select(
    DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.run_after, DagRun.start_date, DagRun.end_date
)


def _run(row: Sequence[object]) -> Run:
    dag_id, run_id, state, *moments = row
    return Run(str(dag_id), str(run_id), str(getattr(state, "value", state)), *moments)  # type: ignore[arg-type]
