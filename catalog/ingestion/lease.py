"""Which attempt of a task is the newest one."""

from collections.abc import Callable
from uuid import uuid4

from catalog.core.connections import Reconnecting
from catalog.core.errors import Fenced
from catalog.core.session import Connection


class Lease:
    """Only the newest attempt of a task may write.

    Taking the lease makes an attempt the newest one; calling it proves that it still is. `number` is greater
    than that of any attempt before, so that what an older one writes can be told apart. A connection that is
    lost between two proofs is made anew; who holds the lease is a row of the database, so a newer attempt is
    noticed all the same.
    """

    def __init__(self, task: str, connect: Callable[[], Connection], above: int = 0) -> None:
        """Take the lease.

        Args:
            task: What is held: a task of a run.
            connect: Opens a connection in autocommit mode.
            above: The greatest number by which the task's attempts have written. The sequence of a database
                that was restored to an earlier moment is behind it.
        """
        self._task, self._holder = task, uuid4()
        self._connection = Reconnecting(connect)
        self._forget_old_ones()
        first = self._connection.now()
        self.number = _next_number(first, above)
        # Never repeated: a newer attempt may have taken the lease since.
        first.execute(
            "insert into pull_lease (task, holder) values (%s, %s) "
            "on conflict (task) do update set holder = excluded.holder, renewed_on = now()",
            [self._task, self._holder],
        )

    def __call__(self) -> None:
        """Prove that this attempt is the newest one.

        Raises:
            Fenced: It is not.
        """
        renewed = self._connection.execute(
            "update pull_lease set renewed_on = now() where task = %s and holder = %s",
            [self._task, self._holder],
        )
        if renewed.rowcount != 1:
            raise Fenced("a newer try of this task has taken over; this one stops without writing.")

    def release(self) -> None:
        self._connection.execute(
            "delete from pull_lease where task = %s and holder = %s", [self._task, self._holder]
        )
        self._connection.close()

    def _forget_old_ones(self) -> None:
        """Delete the leases of pulls that failed permanently; an attempt that still runs then stops."""
        self._connection.execute(
            "delete from pull_lease where task in (select task from pull_lease "
            "where renewed_on < now() - interval '30 days' for update skip locked)"
        )


def _next_number(connection: Connection, above: int) -> int:
    """The next number of the sequence that is greater than `above`; no two attempts get the same one."""
    row = connection.execute("select nextval('pull_attempt')").fetchone()
    assert row
    if row[0] > above:
        return int(row[0])
    missing = above - row[0] + 1
    row = connection.execute(  # not setval: the role may lack the right, and another attempt may be here, too
        "select max(nextval('pull_attempt')) from generate_series(1, %s)", [missing]
    ).fetchone()
    assert row
    return int(row[0])
