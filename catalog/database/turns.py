"""Turns: mutual exclusion of conflicting DAGs, by locks that outlive a failed run.

A run takes a turn before it changes anything, and checks before each step that it still holds the turn. A
failed run keeps its turn, so that clearing its tasks resumes the work. When a conflicting run begins, it
gives up the turn of the failed run.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from catalog.core.errors import Refused
from catalog.core.queries import value
from catalog.core.session import Connection


class Turn(msgspec.Struct, frozen=True):
    """Permission of a run to work.

    Attributes:
        number: Fencing token: greater than that of any earlier turn.
        dag_id: DAG of the run.
        run_id: The run.
    """

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
        connection: Connection to the catalog database, in autocommit.
        dag_id: DAG of the run.
        run_id: The run.
        conflicts: Ids of the other DAGs that must not run at the same time. Two runs of `dag_id` always
            conflict.
        active: Returns whether a run (DAG id, run id) is running or queued.

    Returns:
        The turn; or descriptions of the active runs, and nothing was changed.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('turn'))")
        held = connection.execute(
            "select number, dag_id, run_id from turn"
            " where given_up_for is null and dag_id = any(%s) order by number",
            [[dag_id, *conflicts]],
        ).fetchall()
        others = [(other, run) for _, other, run in held if (other, run) != (dag_id, run_id)]
        if busy := [f"{other} (run {run})" for other, run in others if active(other, run)]:
            return busy
        connection.execute(
            "update turn set given_up_for = %s, given_up_on = now() where number = any(%s)",
            [f"{dag_id} (run {run_id})", [number for number, _, _ in held]],
        )
        query = "insert into turn (dag_id, run_id) values (%s, %s) returning number"
        number = value(connection, query, [dag_id, run_id])
    return Turn(number, dag_id, run_id)


def current(connection: Connection, dag_id: str, run_id: str) -> Turn:
    """Return the turn of a run.

    Args:
        connection: Connection to the catalog database.
        dag_id: DAG of the run.
        run_id: The run.

    Raises:
        Refused: The run has no turn, or another run has begun since.
    """
    row = connection.execute(
        "select number, given_up_for from turn"
        " where dag_id = %s and run_id = %s order by number desc limit 1",
        [dag_id, run_id],
    ).fetchone()
    if not row:
        raise Refused("this run has no turn; clear the run from its first task on.")
    if row[1]:
        raise Refused(
            f"{row[1]} began after this run had ended, so this run cannot go on. Trigger a new run, or clear "
            "this one from its first task on."
        )
    return Turn(row[0], dag_id, run_id)


@contextmanager
def kept(connection: Connection, turn: Turn) -> Iterator[None]:
    """Lock a turn during a step that cannot be undone, so that no other run gives it up meanwhile.

    Args:
        connection: Connection to the catalog database, in autocommit.
        turn: The turn of the run.

    Raises:
        Refused: The turn was given up before.
    """
    with connection.transaction():
        row = connection.execute(
            "select 1 from turn where number = %s and given_up_for is null for share", [turn.number]
        ).fetchone()
        if not row:
            raise Refused(f"turn {turn.number} of run {turn.run_id} was given up; trigger a new run.")
        yield
