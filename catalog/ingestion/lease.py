"""Which attempt of a task is the newest one."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg

from catalog.ingestion.errors import Fenced


class Lease:
    """Only the newest attempt of a task may write.

    Taking the lease makes an attempt the newest one; calling it proves that it still is. `number` is greater than
    that of any attempt before, so that what an older one writes can be told apart.
    """

    def __init__(self, task: str, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._task, self._holder, self._connection = task, uuid4(), connect()
        row = self._connection.execute("select nextval('pull_attempt')").fetchone()
        assert row
        self.number: int = row[0]
        self._connection.execute(
            "insert into pull_lease (task, holder) values (%s, %s) "
            "on conflict (task) do update set holder = excluded.holder, renewed_on = now()",
            [self._task, self._holder],
        )

    def __call__(self) -> None:
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
