"""The lock that allows one session at a time to work on a selection."""

import logging
import time
from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from catalog.core.errors import Refused, Retry
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.sql_files import sql_file

log = logging.getLogger(__name__)
QUERY_ID = r"^[a-z][a-z0-9_]{0,39}$"  # names of selections


class Session(NamedTuple):
    """The database session that works on a selection."""

    pid: int
    started: datetime
    own: bool  # it belongs to the same run


class SelectionLock:
    """An advisory lock on a selection, which the session holds until it ends.

    Args:
        connection: Connection to the catalog database, in autocommit.
        query_id: Name of the selection.
        run_id: Run that works on the selection.
        exclusive: True if another session of this run can only be an earlier attempt of the same task, which
            may be ended.
        busy: Message of Refused if another run works on the selection.
    """

    def __init__(
        self, connection: Connection, query_id: str, run_id: str, *, exclusive: bool, busy: str
    ) -> None:
        self._connection, self._exclusive, self._busy = connection, exclusive, busy
        self._key = lock_key(query_id)
        # A second, shared lock marks the session as one of this run.
        self._mark: dict[str, sql.Composable] = {
            "family": sql.SQL("hashtext({})").format(self._key),
            "run": sql.SQL("hashtext({})").format(run_id),
        }

    def take(self, max_wait: float) -> None:
        """Take the lock.

        The server may still execute a statement of an earlier attempt that was killed. Wait for its session,
        then end it.

        Args:
            max_wait: Seconds to wait for an earlier attempt of this run.

        Raises:
            Refused: Another run works on the selection.
            Retry: The session of an earlier attempt does not end.
        """
        lock = sql.SQL("select pg_advisory_lock_shared({family}, {run})")
        self._connection.execute(lock.format(**self._mark))
        began = time.monotonic()
        deadline, ended = began + max_wait, False
        while not self._locked():
            holder = self._holder()
            other_run = holder and not (self._exclusive and holder.own)
            # The session of a run that has just ended needs a moment to disappear.
            if other_run and time.monotonic() >= began + min(max_wait, 1):
                raise Refused(self._busy)
            if time.monotonic() >= deadline:
                if ended:
                    raise Retry(
                        f"the session of an earlier attempt does not end ({holder}); clear this task later."
                    )
                if holder:
                    log.warning("Ending the session of an earlier attempt (server process %s).", holder.pid)
                    self._end(holder)
                deadline, ended = time.monotonic() + max(max_wait, 60), True
            time.sleep(0.1)

    def _locked(self) -> bool:
        return bool(value(self._connection, "select pg_try_advisory_lock(hashtext(%s))", [self._key]))

    def _holder(self) -> Session | None:
        query = sql.SQL(sql_file("working_session")).format(**self._mark)
        row = self._connection.execute(query).fetchone()
        return Session(*row) if row else None

    def _end(self, holder: Session) -> None:
        """End exactly this session: another session may have its process id by now."""
        self._connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and backend_start = %s",
            [holder.pid, holder.started],
        )


def lock_key(query_id: str) -> str:
    """Return the key of the advisory lock on a selection."""
    return f"batched update {query_id}"
