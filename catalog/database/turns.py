"""Turns: mutual exclusion of conflicting DAGs, also while a failed run is cleared.

A run takes a turn before it changes anything and proves before each step that the turn is still its own. A
run that has failed keeps its turn, so clearing its tasks goes on with the work, until another run begins:
that one gives the turn up for it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from catalog.core.errors import Refused
from catalog.core.session import Connection


class Turn(msgspec.Struct, frozen=True):
    """A run's permission to work. number: greater than that of any turn taken before."""

    number: int
    dag_id: str
    run_id: str


def take(
    connection: Connection,
    dag_id: str,
    run_id: str,
    conflicts: Iterable[str],
    active: Callable[[str, str], bool],
) -> Turn | list[str]:
    """Take a turn for a run, unless a conflicting run is active.

    Args:
        connection: To the catalog database, in autocommit.
        dag_id: Of the run.
        run_id: Of the run.
        conflicts: Ids of the DAGs that must not run at the same time; other runs of `dag_id` never may.
        active: Returns whether a run (DAG id, run id) is running or queued.

    Returns:
        The turn; or descriptions of the active runs, in which case nothing was changed.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('turn'))")
        held = connection.execute(
            "select number, dag_id, run_id from turn where given_up_for is null and dag_id = any(%s) order by number",
            [[dag_id, *conflicts]],
        ).fetchall()
        others = [(other, run) for _, other, run in held if (other, run) != (dag_id, run_id)]
        if busy := [f"{other} (run {run})" for other, run in others if active(other, run)]:
            return busy
        connection.execute(
            "update turn set given_up_for = %s, given_up_on = now() where number = any(%s)",
            [f"{dag_id} (run {run_id})", [number for number, _, _ in held]],
        )
        row = connection.execute(
            "insert into turn (dag_id, run_id) values (%s, %s) returning number", [dag_id, run_id]
        ).fetchone()
    assert row
    return Turn(row[0], dag_id, run_id)


def current(connection: Connection, dag_id: str, run_id: str) -> Turn:
    """The turn that a run holds.

    Raises:
        Refused: The run never took a turn, or another run has begun since.
    """
    row = connection.execute(
        "select number, given_up_for from turn where dag_id = %s and run_id = %s order by number desc limit 1",
        [dag_id, run_id],
    ).fetchone()
    if not row:
        raise Refused("this run has not taken its turn; clear the run from its first task on.")
    if row[1]:
        raise Refused(
            f"{row[1]} began after this run had ended, so this run cannot go on. Trigger a new run, or clear this one "
            "from its first task on."
        )
    return Turn(row[0], dag_id, run_id)


@contextmanager
def kept(connection: Connection, turn: Turn) -> Iterator[None]:
    """Keep a turn from being given up while something is exchanged that cannot be taken back.

    Raises:
        Refused: It was given up before.
    """
    with connection.transaction():
        row = connection.execute(
            "select 1 from turn where number = %s and given_up_for is null for share", [turn.number]
        ).fetchone()
        if not row:
            raise Refused(f"turn {turn.number} of run {turn.run_id} was given up; trigger a new run.")
        yield
