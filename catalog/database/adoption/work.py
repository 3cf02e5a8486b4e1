"""Adoption itself: the steps one after the other, each by itself, beside whatever else works on the database.

Where an adoption stands follows from what the database holds: a second call looks anew and finds the steps
that are left. One that was killed leaves at most an index that is not valid, which the next one drops first.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from catalog.core.conninfo import conninfo
from catalog.core.errors import Fatal, Refused
from catalog.core.session import Connection, settle
from catalog.database import locks, schema
from catalog.database.adoption import first_revision
from catalog.database.adoption.duplicates import Removal
from catalog.database.adoption.inventory import SET_KEY
from catalog.database.adoption.look import Look, look
from catalog.database.adoption.rows import TO_FILL
from catalog.database.adoption.steps import Step
from catalog.database.index_builds import Notify, Progress, build_concurrently
from catalog.database.schema import SchemaStatus

FILLED = 10_000  # rows of a batch


class InTheWay(Refused):
    """An older catalog that cannot be adopted as it is. reasons: one sentence each, with the way out."""

    def __init__(self, reasons: list[str]) -> None:
        number = f"{len(reasons)} things are" if len(reasons) > 1 else "one thing is"
        self.summary = f"{number} in the way; nothing was changed"
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
    """Make an older catalog ours: all steps, then the revisions after the first one.

    Args:
        dsn: Address of the database.
        move_duplicates: Keep the newest of rows that should be unique, and move the others aside.
        notify: Told each step, and whom it waits for.
        progress: Called with what is under way, how much of it is done, and how much there is.
        done: Called after each step.
        max_wait: Seconds after which no further attempt is made to get a lock.

    Returns:
        The status afterwards.

    Raises:
        InTheWay: Something stands in the way; nothing was changed.
        Refused: The database is no older catalog.
        Fatal: A step failed, or a lock was not to be had; what was done before stays, and the same call goes
            on.
    """
    with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
        settle(connection)
        work = _Work(connection, dsn, notify, progress, max_wait)
        with work.alone():
            found = look(connection, move_duplicates=move_duplicates, notify=notify, max_wait=max_wait)
            check(found)
            for number, step in enumerate(found.steps, 1):
                notify(f"{number}/{len(found.steps)} {step.title}")
                began = time.monotonic()
                work.do(step)
                notify(f"{number}/{len(found.steps)} done in {time.monotonic() - began:.1f} s")
                done(step)
    return schema.upgrade(dsn, notify=notify, max_wait=max_wait)


def check(found: Look) -> None:
    """Raise Refused if a database is no older catalog, InTheWay if it cannot be adopted as it is."""
    if found.state == "ours" and found.revision not in first_revision.names_by_revision():
        raise Refused(
            f"catalog_version names the revision {found.revision}, which this release does not know: use the "
            "newer release that made it; or the table is somebody else's, then rename it."
        )
    if found.state == "ours":
        raise Refused(
            f"the database is the catalog's own already, at revision {found.revision}: `catalog db upgrade` applies what is pending."
        )
    if found.state == "none":
        raise Refused(
            "the schema public holds neither a table image nor a table audio, so there is nothing to adopt: "
            "`catalog db upgrade` makes an empty catalog."
        )
    if found.refused:
        raise InTheWay(found.refused)


class _Work:
    def __init__(
        self, connection: Connection, dsn: str, notify: Notify, progress: Progress, max_wait: float
    ) -> None:
        self._connection, self._dsn = connection, dsn
        self._notify, self._progress, self._max_wait = notify, progress, max_wait

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else adopts or upgrades meanwhile."""
        self._attempt("adoption", lambda: locks.lock_schema(self._connection))
        try:
            yield
        finally:
            if not self._connection.closed:
                locks.unlock_schema(self._connection)

    def do(self, step: Step) -> None:
        try:
            match step.how:
                case "at once":
                    self._attempt(step.title, lambda: self._at_once(step))
                case "index":
                    self._index(step)
                case "fill":
                    self._fill(step)
                case "duplicates":
                    self._duplicates(step)
        except psycopg.Error as error:
            diag = error.diag
            said = " ".join(filter(None, (diag.message_primary or str(error), diag.message_detail)))
            raise Fatal(
                f"{step.title}: {said}. What was done before this step stays; the same command goes on from here."
            ) from None

    def _at_once(self, step: Step) -> None:
        with self._connection.transaction():
            # Autovacuum makes way after a second, while nobody queues behind us; then only running statements are waited for.
            for mode in ("share update exclusive", "access exclusive"):
                locks.lock_tables(self._connection, dict.fromkeys(step.exclusively, mode))
            for statement in step.statements:
                self._run(statement)

    def _index(self, step: Step) -> None:
        build_concurrently(
            self._connection,
            self._connect,
            step.title,
            step.statements,
            notify=self._notify,
            progress=self._progress,
            max_wait=self._max_wait,
        )

    def _fill(self, step: Step) -> None:
        table = sql.Identifier("public", step.table)
        width = self._connection.execute(
            "select case when atttypmod > 4 then atttypmod - 4 else 1000000 end from pg_attribute "
            "where attrelid = to_regclass(%s) and attname = %s",
            [f"public.{step.table}", SET_KEY],
        ).fetchone()
        assert width
        statement = sql.SQL("""
            with batch as (
                select identifier from {table}
                 where {to_fill} and ({after}::uuid is null or identifier > {after}) order by identifier limit {most}
            ), filled as (
                update {table} t set {key} = audio_set ->> 'foreign_identifier' from batch where t.identifier = batch.identifier
            )
            select count(*), (array_agg(identifier order by identifier desc))[1] from batch
        """)
        filled, after = 0, None
        while True:
            query = statement.format(
                table=table,
                key=sql.Identifier(SET_KEY),
                most=sql.Literal(FILLED),
                after=sql.Literal(after),
                to_fill=sql.SQL(TO_FILL).format(key=sql.Identifier(SET_KEY), width=sql.Literal(width[0])),
            )
            number, after = self._attempt(step.title, lambda q=query: self._row(q))  # type: ignore[misc]
            filled += number
            self._progress(step.title, filled, step.rows)
            if number < FILLED:
                return

    def _duplicates(self, step: Step) -> None:
        removal = Removal(self._connection, step.table, step.keys)
        total = self._attempt(step.title, removal.find)
        number = 1
        while number <= total:
            number = self._attempt(step.title, lambda n=number: self._moved(removal, n))  # type: ignore[misc]
            self._progress(step.title, min(number - 1, total), total)
        self._attempt(step.title, removal.drop_if_empty)

    def _moved(self, removal: Removal, first: int) -> int:
        with self._connection.transaction():
            return removal.move(first)

    def _row(self, query: sql.Composed) -> tuple[Any, ...]:
        with self._connection.transaction():
            row: tuple[Any, ...] | None = self._connection.execute(query).fetchone()
        assert row
        return row

    def _attempt(self, what: str, work: Callable[[], Any]) -> Any:
        locks.limit_lock_wait(self._connection)
        pid = self._connection.info.backend_pid
        return locks.retry_while_locked(
            self._connect, pid, work, what=what, notify=self._notify, max_wait=self._max_wait
        )

    def _connect(self) -> Connection:
        return psycopg.connect(conninfo(self._dsn), autocommit=True)

    def _run(self, statement: str) -> None:
        self._connection.execute(sql.SQL(statement))
