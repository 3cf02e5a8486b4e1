"""Runs that failed and that no later run made up for, from Airflow's database: when, in which task, and why.

Airflow's models cannot be used below the DAGs, so the columns that are read are named here.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from textwrap import shorten
from typing import Any, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import (
    JSON,
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

from catalog.core.airflow_names import FAILURE, HELD, LIMITED, WATCHER
from catalog.monitoring.asked import Asked, asked, dated_dags, is_trial
from catalog.monitoring.finding import Finding, in_order
from catalog.monitoring.loads import KEPT

Key: TypeAlias = tuple[str, str]  # DAG id, run id
FAILED = "failed"
_FINISHED = ("success", FAILED)
_RECENT = 20  # runs of a DAG that are looked at, however old they are
_SUBJECT = 80  # characters

_DAG = table("dag", column("dag_id"), column("is_stale"))
_MOMENT = DateTime(timezone=True)
_RUN = table(
    "dag_run",
    column("id"),
    column("dag_id"),
    column("run_id"),
    column("state"),
    column("end_date", _MOMENT),
    column("run_after", _MOMENT),
    column("data_interval_start", _MOMENT),
    column("data_interval_end", _MOMENT),
    column("conf", JSON),
)
_TASK = table(
    "task_instance",
    column("dag_id"),
    column("run_id"),
    column("task_id"),
    column("map_index"),
    column("state"),
    column("end_date", _MOMENT),
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


class _Run(NamedTuple):
    """A run that has ended."""

    key: Key
    failed: bool
    marked: bool  # a task was marked as failed after the run had succeeded
    ended: datetime
    asked: Asked


class _Task(NamedTuple):
    """The first task of a run that failed, and why; None if it could not say so."""

    task_id: str
    map_index: int
    reason: object


def of_database(address: str, seconds: int, now: datetime) -> dict[Key, Finding]:
    """Return the failed runs of the DAGs that Airflow's files still define; see `failed_runs`.

    Args:
        address: Address of Airflow's database, as SQLAlchemy takes it.
        seconds: Limit of the time for a connection to a server.
        now: The current time.
    """
    limits = {"connect_timeout": seconds} if address.startswith("postgres") else {}
    engine = create_engine(address, poolclass=NullPool, connect_args=limits)
    with engine.connect() as connection:
        defined = connection.scalars(select(_DAG.c.dag_id).where(_DAG.c.is_stale.is_(False)))
        return failed_runs(connection, list(defined), now)


def failed_runs(airflow: Connection | Session, dag_ids: Collection[str], now: datetime) -> dict[Key, Finding]:
    """Return a finding for each failed run until a later one for the same day or objects has succeeded.

    It is the last of those for the same. A run that waits or runs says nothing yet. Nor does one that replays
    a recording, is limited or changes nothing: people who try one look at its end. Nor does the success of a
    run of a held schedule, whose tasks were skipped, or of one that a Variable has limited. A successful run
    of which somebody has marked a task as failed counts as failed: Airflow leaves its state as it is.
    Failures are looked at for a month, that of the newest run of a DAG for ever.

    Args:
        airflow: Airflow's database.
        dag_ids: The DAGs.
        now: The current time.

    Returns:
        Run → finding; the newest run of each DAG first.
    """
    found = [run for runs in _ended(airflow, dag_ids, now) for run in _failed(runs, now)]
    tasks = _first_failed_tasks(airflow, [run.key for run in found])
    return {run.key: _finding(run, tasks.get(run.key)) for run in found}


def _finding(run: _Run, task: _Task | None) -> Finding:
    if task and run.marked:
        text = (
            f"{task.task_id} has failed in a run that counts as successful; clear it, or mark it as success"
        )
        return Finding("error", run.key[0], text, "failed-task", *run.key, task.task_id, task.map_index)
    subject = shorten(run.asked.subject, _SUBJECT, placeholder=" …")
    about = f" for {subject}" if subject else ""
    where = f" in {task.task_id}" if task else ""  # a timeout, for example, is of the whole run
    text = f"the newest run{about} failed{where} on {run.ended:%Y-%m-%d %H:%M}"
    if task is None:
        return Finding("error", run.key[0], text, "failed-task", *run.key)
    text += f": {task.reason}" if isinstance(task.reason, str) else "; the log of the task says why"
    return Finding("error", run.key[0], text, "failed-task", *run.key, task.task_id, task.map_index)


def merged(findings: Iterable[Finding], failed: dict[Key, Finding]) -> list[Finding]:
    """Add the failed runs that no other error explains, and their logs to the errors that explain them.

    Those of the same DAG are one finding, about the newest of them.
    """
    findings = list(findings)
    explained = {(finding.dag_id, finding.run_id) for finding in findings if finding.severity == "error"}
    others: dict[str, list[Finding]] = {}
    for key, run in failed.items():
        if key not in explained:
            others.setdefault(run.dag_id, []).append(run)
    every = [_with_number(newest, len(earlier)) for newest, *earlier in others.values()]
    for finding in findings:
        same = failed.get((finding.dag_id, finding.run_id)) if finding.severity == "error" else None
        where = {"task_id": same.task_id, "map_index": same.map_index} if same else {}
        every.append(msgspec.structs.replace(finding, **where))
    return in_order(every)


def _with_number(finding: Finding, more: int) -> Finding:
    if not more:
        return finding
    others = "that for one other" if more == 1 else f"those for {more:,} others"
    return msgspec.structs.replace(finding, text=f"{finding.text.rstrip('.')}; so did {others}")


def _failed(runs: Sequence[_Run], now: datetime) -> Iterator[_Run]:
    """Yield the failed runs of a DAG that count, one for each subject, the newest first.

    Args:
        runs: Runs of the DAG that have ended, the one that ended last first.
        now: The current time.
    """
    newest = max(run.asked.moment for run in runs)
    found: dict[str, _Run] = {}
    later: list[Asked] = []  # of the runs that have succeeded
    for run in runs:
        if not run.failed:
            later.append(run.asked)
        elif not any(success.includes(run.asked) for success in later):
            found.setdefault(run.asked.subject, run)
    for run in sorted(found.values(), key=lambda run: (run.asked.moment, run.ended), reverse=True):
        if run.ended >= now - KEPT or run.asked.moment >= newest:
            yield run


def _ended(airflow: Connection | Session, dag_ids: Collection[str], now: datetime) -> Iterator[list[_Run]]:
    """Yield the runs that count of each DAG of which any has failed, the one that ended last first."""
    failing = select(_RUN.c.dag_id).where(_RUN.c.dag_id.in_(dag_ids), _RUN.c.state == FAILED)
    touched = failing.union(
        select(_TASK.c.dag_id).where(_TASK.c.dag_id.in_(dag_ids), _TASK.c.state == FAILED)
    )
    # The watcher fails each run in which a task fails. If it was skipped, somebody has marked the task since.
    in_run = [_TASK.c[name] == _RUN.c[name] for name in ("dag_id", "run_id")]
    marked = and_(
        _RUN.c.state != FAILED,
        exists().where(*in_run, _TASK.c.state == FAILED),
        exists().where(*in_run, _TASK.c.state == "skipped", _TASK.c.task_id == WATCHER),
    )
    order = (_RUN.c.end_date.desc(), _RUN.c.id.desc())
    part = exists().where(_XCOM.c.dag_run_id == _RUN.c.id, _XCOM.c.key.in_((HELD, LIMITED)))
    runs = (
        select(
            *(column for column in _RUN.c if column.key != "id"),
            part.label("part"),
            marked.label("marked"),
            func.row_number().over(partition_by=_RUN.c.dag_id, order_by=order).label("n"),
        )
        .where(_RUN.c.dag_id.in_(touched), _RUN.c.state.in_(_FINISHED))
        .subquery()
    )
    recent = or_(runs.c.n <= _RECENT, runs.c.end_date >= now - KEPT)
    dated = dated_dags()
    found = airflow.execute(select(runs).where(recent).order_by(runs.c.dag_id, runs.c.n))
    for dag_id, some in groupby(found, key=lambda row: row.dag_id):
        counted = [run for row in some if (run := _run(row, dated=dag_id in dated))]
        if counted:
            yield counted


def _run(row: Any, *, dated: bool) -> _Run | None:
    """Return a run; None if it does not count."""
    conf, failed = row.conf if isinstance(row.conf, dict) else {}, row.state == FAILED or row.marked
    if is_trial(row.dag_id, conf) or (row.part and not failed):
        return None
    interval = (_in_utc(row.data_interval_start), _in_utc(row.data_interval_end))
    about = asked(row.dag_id, conf, _in_utc(row.run_after), interval, dated=dated)
    return _Run((row.dag_id, row.run_id), failed, bool(row.marked), _in_utc(row.end_date), about)


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


def _in_utc(moment: Any) -> Any:
    """Return a moment in UTC, or None; SQLite keeps it without a time zone."""
    if moment is None:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
