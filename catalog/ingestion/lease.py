"""Fencing: only the newest attempt of a task may write."""

from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

from catalog.core.connections import Reconnecting
from catalog.core.dates import utc
from catalog.core.errors import Fenced
from catalog.core.session import Connection


class Lease:
    """The right of the newest attempt of a task to write.

    Creating a lease takes it from earlier attempts; calling it checks that no newer attempt has taken it.
    The holder is a row of the database, so a newer attempt is noticed even after the connection was lost and
    reopened.

    Attributes:
        number: Greater than that of any earlier attempt, so that the files of different attempts can be
            distinguished.
        renewed_on: When the lease was last taken or checked, by the database's clock.
    """

    number: int
    renewed_on: datetime

    def __init__(self, task: str, connect: Callable[[], Connection], above: int = 0) -> None:
        """Take the lease.

        Args:
            task: The task of a run that the lease is for.
            connect: Opens a connection in autocommit mode.
            above: The greatest attempt number in the names of existing files. In a database that was restored
                from a backup, the sequence may be behind it.
        """
        self._task, self._holder = task, uuid4()
        self._connection = Reconnecting(connect)
        self._delete_expired()
        first = self._connection.current()
        self.number = _next_number(first, above)
        # Not repeated on a new connection: meanwhile a newer attempt may have taken the lease.
        [(taken_on,)] = first.execute(
            "insert into pull_lease (task, holder) values (%s, %s) "
            "on conflict (task) do update set holder = excluded.holder, renewed_on = now() "
            "returning renewed_on",
            [self._task, self._holder],
        ).fetchall()
        self.renewed_on = utc(taken_on)

    def __call__(self) -> None:
        """Check that this attempt is still the newest one.

        Raises:
            Fenced: A newer attempt has taken the lease.
        """
        renewed = self._connection.execute(
            "update pull_lease set renewed_on = now() where task = %s and holder = %s returning renewed_on",
            [self._task, self._holder],
        ).fetchone()
        if renewed is None:
            raise Fenced("a newer attempt of this task has taken over; this one stops without writing.")
        self.renewed_on = utc(renewed[0])

    def release(self) -> None:
        self._connection.execute(
            "delete from pull_lease where task = %s and holder = %s", [self._task, self._holder]
        )
        self._connection.close()

    def _delete_expired(self) -> None:
        """Delete the leases of pulls that failed permanently; an attempt that is still running then stops."""
        self._connection.execute(
            "delete from pull_lease where task in (select task from pull_lease "
            "where renewed_on < now() - interval '30 days' for update skip locked)"
        )


def _next_number(connection: Connection, above: int) -> int:
    """Return the next number of the sequence that is greater than `above`; each number is used once."""
    row = connection.execute("select nextval('pull_attempt')").fetchone()
    assert row
    if row[0] > above:
        return int(row[0])
    missing = above - row[0] + 1
    # Not setval: the role may lack the right to call it, and another attempt may run at the same time.
    row = connection.execute(
        "select max(nextval('pull_attempt')) from generate_series(1, %s)", [missing]
    ).fetchone()
    assert row
    return int(row[0])
