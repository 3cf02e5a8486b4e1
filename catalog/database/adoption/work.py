"""Adoption: runs the steps one after the other, each in its own transactions, beside other work.

The progress follows from the objects of the database: a second call inspects it again and finds the remaining
steps. A killed adoption leaves at most an invalid index, which the next one drops.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.conninfo import conninfo
from catalog.core.errors import Fatal, Refused
from catalog.core.session import Connection, settle
from catalog.database import locks, schema
from catalog.database.adoption import first_revision
from catalog.database.adoption.inspection import Inspection, inspect
from catalog.database.adoption.inventory import SET_KEY
from catalog.database.adoption.removal import Removal
from catalog.database.adoption.rows import TO_FILL
from catalog.database.adoption.steps import Step
from catalog.database.index_builds import Notify, Progress, build_concurrently
from catalog.database.schema import SchemaStatus
from catalog.database.sql_files import sql_file

FILL_BATCH = 10_000  # rows
_Result = TypeVar("_Result")


class Blocked(Refused):
    """An older catalog cannot be adopted as it is.

    Args:
        reasons: A sentence for each obstacle, with its remedy.

    Attributes:
        summary: Number of obstacles, as a clause.
        reasons: A sentence for each obstacle, with its remedy.
    """

    def __init__(self, reasons: list[str]) -> None:
        number = f"{len(reasons)} obstacles prevent" if len(reasons) > 1 else "1 obstacle prevents"
        self.summary = f"{number} the adoption; nothing was changed"
        super().__init__(f"{self.summary}: {' '.join(reasons)}")
        self.reasons = reasons


def adopt(
    dsn: str,
    *,
    move_duplicates: bool = False,
    notify: Notify = lambda _: None,
    progress: Progress = lambda what, done, total: None,
    done: Callable[[Step], None] = lambda _: None,
    max_wait: float = locks.MAX_WAIT,
) -> SchemaStatus:
    """Turn an older catalog into a current one: run all steps, then the revisions after the first one.

    Args:
        dsn: Address of the database.
        move_duplicates: Whether to keep the newest of rows that should be unique, and to move the others to
            other tables.
        notify: Called with a sentence for each step, and for each session that it waits for.
        progress: Called with the title of a step, and the rows or blocks done and in all.
        done: Called after each step.
        max_wait: Seconds to wait for a lock.

    Returns:
        The status of the schema afterwards.

    Raises:
        Blocked: An obstacle prevents the adoption; nothing was changed.
        Refused: The database is not an older catalog.
        Fatal: A step failed, or a lock was not obtained in time. Earlier steps are kept, and the same call
            resumes.
    """
    with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
        settle(connection)
        work = _Work(connection, dsn, notify, progress, max_wait)
        with work.alone():
            inspection = inspect(
                connection, move_duplicates=move_duplicates, notify=notify, max_wait=max_wait
            )
            check(inspection)
            for number, step in enumerate(inspection.steps, 1):
                notify(f"{number}/{len(inspection.steps)} {step.title}")
                began = time.monotonic()
                work.do(step)
                notify(f"{number}/{len(inspection.steps)} done in {time.monotonic() - began:.1f} s")
                done(step)
    return schema.upgrade(dsn, notify=notify, max_wait=max_wait)


def check(inspection: Inspection) -> None:
    """Check that an inspected database can be adopted.

    Raises:
        Blocked: It is an older catalog, but an obstacle prevents its adoption.
        Refused: It is not an older catalog.
    """
    if inspection.state == "current" and inspection.revision not in first_revision.names_by_revision():
        raise Refused(
            f"catalog_version names the revision {inspection.revision}, which this release does not know: "
            "use the newer release that stored it, or rename the table if it is not the catalog's."
        )
    if inspection.state == "current":
        raise Refused(
            f"the database is a current catalog already, at revision {inspection.revision}: "
            "`catalog db upgrade` applies pending revisions."
        )
    if inspection.state == "none":
        raise Refused(
            "the schema public has neither a table image nor a table audio, so there is nothing to adopt: "
            "`catalog db upgrade` creates an empty catalog."
        )
    if inspection.obstacles:
        raise Blocked(inspection.obstacles)


class _Work:
    """Runs the steps of one adoption.

    Args:
        connection: Connection to the database, in autocommit.
        dsn: Address of the database.
        notify: Called with a sentence for each session that a step waits for.
        progress: Called with the title of a step, and the rows or blocks done and in all.
        max_wait: Seconds to wait for a lock.
    """

    def __init__(
        self, connection: Connection, dsn: str, notify: Notify, progress: Progress, max_wait: float
    ) -> None:
        self._connection, self._dsn = connection, dsn
        self._notify, self._progress, self._max_wait = notify, progress, max_wait

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the database against other adoptions and upgrades."""
        self._attempt("adoption", lambda: locks.lock_schema(self._connection))
        try:
            yield
        finally:
            if not self._connection.closed:
                locks.unlock_schema(self._connection)

    def do(self, step: Step) -> None:
        """Run a step; raise Fatal if the database reports an error."""
        try:
            match step.how:
                case "transaction":
                    self._attempt(step.title, lambda: self._run_transaction(step))
                case "index":
                    self._build_index(step)
                case "fill":
                    self._fill_sets(step)
                case "duplicates":
                    self._move_duplicates(step)
        except psycopg.Error as error:
            diag = error.diag
            message = " ".join(filter(None, (diag.message_primary or str(error), diag.message_detail)))
            raise Fatal(
                f"{step.title}: {message}. Earlier steps are kept; repeat the command to resume here."
            ) from None

    def _run_transaction(self, step: Step) -> None:
        with self._connection.transaction():
            # An autovacuum gives way to the first lock after a second, while no reader queues behind it. The
            # second lock then waits only for running statements.
            for mode in ("share update exclusive", "access exclusive"):
                locks.lock_tables(self._connection, dict.fromkeys(step.locked_exclusively, mode))
            for query in step.statements:
                self._connection.execute(sql.SQL(query))

    def _build_index(self, step: Step) -> None:
        build_concurrently(
            self._connection,
            self._connect,
            step.title,
            step.statements,
            notify=self._notify,
            progress=self._progress,
            max_wait=self._max_wait,
        )

    def _fill_sets(self, step: Step) -> None:
        width = self._connection.execute(
            "select case when atttypmod > 4 then atttypmod - 4 else 1000000 end from pg_attribute "
            "where attrelid = to_regclass(%s) and attname = %s",
            [f"public.{step.table}", SET_KEY],
        ).fetchone()
        assert width
        filled, after = 0, None
        while True:
            query = sql.SQL(sql_file("adoption/fill_sets")).format(
                table=sql.Identifier("public", step.table),
                key=sql.Identifier(SET_KEY),
                most=sql.Literal(FILL_BATCH),
                after=sql.Literal(after),
                to_fill=sql.SQL(TO_FILL).format(key=sql.Identifier(SET_KEY), width=sql.Literal(width[0])),
            )
            number, after = self._attempt(step.title, partial(self._fill_batch, query))
            filled += number
            self._progress(step.title, filled, step.rows)
            if number < FILL_BATCH:
                return

    def _fill_batch(self, query: sql.Composed) -> tuple[int, UUID | None]:
        """Fill a batch, and return its number of rows and its last identifier."""
        with self._connection.transaction():
            [(number, last)] = self._connection.execute(query).fetchall()
        return number, last

    def _move_duplicates(self, step: Step) -> None:
        removal = Removal(self._connection, step.table, step.keys)
        total = self._attempt(step.title, removal.find)
        number = 1
        while number <= total:
            number = self._attempt(step.title, partial(self._move_batch, removal, number))
            self._progress(step.title, min(number - 1, total), total)
        self._attempt(step.title, removal.drop_if_empty)

    def _move_batch(self, removal: Removal, first: int) -> int:
        with self._connection.transaction():
            return removal.move(first)

    def _attempt(self, what: str, work: Callable[[], _Result]) -> _Result:
        """Repeat a piece of work while a lock is not obtained, up to `max_wait`."""
        locks.limit_lock_wait(self._connection)
        pid = self._connection.info.backend_pid
        return locks.retry_while_locked(
            self._connect, pid, work, what=what, notify=self._notify, max_wait=self._max_wait
        )

    def _connect(self) -> Connection:
        return psycopg.connect(conninfo(self._dsn), autocommit=True)
