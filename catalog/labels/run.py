"""A run that stages and merges the labels of a file: its row in `label_run`, and its table of labels."""

from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import class_row

from catalog.core.errors import Refused
from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection
from catalog.database.earlier_runs import earlier_name, rename_selections
from catalog.database.selection_lock import SelectionLock
from catalog.database.selections import key_of
from catalog.labels.file import FileVersion
from catalog.labels.unmerged import UnmergedLines

QUERY_ID = "machine_labels"
KEPT = 30  # days that the labels of a run which failed are kept
ENDED = "This run has ended; nothing is left to do."


class Outcome(msgspec.Struct, frozen=True):
    """What a merge did, or would do.

    Attributes:
        changed: Images whose tags changed.
        unknown: Identifiers in the file that no image has.
        left: Images whose tags are not an array, and stay as they are.
        gone: Images that were deleted during the merge.
        merged: False for a dry run.
        before: Labels of the provider that the images of the file have; only of a dry run.
        after: Labels that they would have; only of a dry run.
    """

    changed: int
    unknown: int
    left: int
    gone: int = 0
    merged: bool = True
    before: int = 0
    after: int = 0


class State(msgspec.Struct, frozen=True):
    """A row of `label_run`; see the migration."""

    url: str
    size: int
    version: str
    provider: str
    least_confidence: float
    read_to: int
    lines: int
    staged: int
    refused: dict[str, Any]
    outcome: dict[str, Any] | None

    @property
    def unmerged(self) -> UnmergedLines:
        return msgspec.convert(self.refused, UnmergedLines)

    @property
    def result(self) -> Outcome | None:
        return msgspec.convert(self.outcome, Outcome | None)

    def kind(self, what: str) -> str:
        """Return a kind of loss by this file, for `refusals.judge`: nobody has seen that of another file."""
        read = f"{self.provider} from {self.least_confidence:g}"
        return f"{what}, labels of {read} in {self.version} ({self.size} bytes)"


def staging_table(run_id: str) -> str:
    """Return the name of the table with the labels of a run."""
    return f"machine_labels_{key_of(run_id)}"


class LabelRun:
    """The record of one run that stages and merges a file.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        run_id: The DAG run.
        url: Address of the file, as it was given.
        provider: Provider of the labels.
        least_confidence: 0 to 100; labels below it are left out.
    """

    def __init__(
        self, connection: Connection, run_id: str, url: str, provider: str, least_confidence: float
    ) -> None:
        self.connection, self.run_id, self.url = connection, run_id, url
        self.provider, self.least_confidence = provider, least_confidence
        self.name = staging_table(run_id)
        self.table = sql.Identifier("public", self.name)

    def state(self) -> State | None:
        """Return how far the run is; None if it has not begun."""
        with self.connection.cursor(row_factory=class_row(State)) as cursor:
            return cursor.execute(
                "select url, size, version, provider, least_confidence, read_to, lines, staged, refused,"
                " outcome from label_run where run_id = %s",
                [self.run_id],
            ).fetchone()

    def rename_earlier_run(self) -> None:
        """Keep the record of an earlier run with this id under another name, and drop its labels."""
        if self.state() is None:
            return
        self.lock()
        with self.connection.transaction():
            self.drop()
            self.connection.execute(
                "update label_run set run_id = %s where run_id = %s", [earlier_name(self.run_id), self.run_id]
            )
            rename_selections(self.connection, QUERY_ID, self.run_id)

    def check_request(self, file: FileVersion | None = None) -> None:
        """Refuse a run id that an earlier run has used for something else.

        A run that Airflow makes again with the id of a deleted one is not refused: its first task leaves the
        record to the earlier run, unless somebody marks that task as success.

        Args:
            file: What the file is now, to compare it with what a run that has ended read; None if it is not
                there any more.
        """
        if (state := self.state()) is None:
            return
        known: tuple[object, ...] = (state.url, state.provider, state.least_confidence)
        given: tuple[object, ...] = (self.url, self.provider, self.least_confidence)
        if file and state.result:
            known, given = (*known, state.size, state.version), (*given, file.size, file.version)
        if known != given:
            raise Refused(
                f"an earlier run with the id {self.run_id} has read {state.url} ({state.size:,} bytes, "
                f"{state.version}) for {state.provider}, least confidence {state.least_confidence:g}. "
                "Nothing was merged. Trigger a new run."
            )

    def known(self) -> State:
        """Return how far the run is. Raises Refused if it has not begun."""
        state = self.state()
        if state is None:
            raise Refused("nothing is staged by this run; clear the task that stages the labels.")
        return state

    def lock(self) -> None:
        """Let no two sessions of the run stage: an earlier attempt may still be at work on the server."""
        SelectionLock(
            self.connection, self.name, self.run_id, exclusive=True, busy="another session stages labels."
        ).take(10)

    def require_labels(self, state: State) -> None:
        """Refuse to go on with labels that somebody has dropped, truncated or deleted."""
        is_there = relation_exists(self.connection, self.name)
        found = self.count("select count(*) from {table}") if is_there else 0
        if not is_there or found != state.staged:
            raise Refused(
                f"the labels of this run are gone: {state.staged:,} were staged, {self.name} has "
                f"{found:,}. Tags stay as they are. Trigger a new run."
            )

    def end(self, outcome: Outcome) -> None:
        """Store what the run did; from then on, its tasks have nothing left to do."""
        self.connection.execute(
            "update label_run set outcome = %s, renewed_on = now() where run_id = %s",
            [encoded(outcome), self.run_id],
        )

    def ended(self) -> State:
        """Return the counts of a run whose merge has ended. Raises Refused if it has not."""
        state = self.known()
        if not state.result:
            raise Refused("the labels of this run are not merged; clear the task that merges them.")
        return state

    def drop(self) -> None:
        """Drop the staged labels; the row of the run stays."""
        self.execute("drop table if exists {table}")

    def count(self, query: LiteralString, **parts: sql.Composable) -> int:
        """Return the only value of a query, in which `{table}` is the table of the run."""
        return int(value(self.connection, sql.SQL(query).format(table=self.table, **parts)))

    def execute(self, statement: LiteralString, **parts: sql.Composable) -> psycopg.Cursor[Any]:
        """Execute a statement, in which `{table}` is the table of the run."""
        return self.connection.execute(sql.SQL(statement).format(table=self.table, **parts))


def drop_abandoned(connection: Connection) -> list[str]:
    """Drop the labels of runs that nobody has resumed; their rows in `label_run` stay.

    Args:
        connection: Connection to the catalog database, in autocommit.

    Returns:
        The names of the tables.
    """
    old = connection.execute(
        "select run_id from label_run where renewed_on < now() - make_interval(secs => %s)", [KEPT * 86_400]
    ).fetchall()
    tables = [staging_table(run_id) for (run_id,) in old]
    existing = connection.execute(
        "select tablename from pg_tables where schemaname = 'public' and tablename = any(%s)", [tables]
    ).fetchall()
    for (table,) in existing:
        connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("public", table)))
    return [table for (table,) in existing]


def encoded(found: UnmergedLines | Outcome) -> str:
    """Return what a row of `label_run` has of it."""
    return msgspec.json.encode(found).decode()
