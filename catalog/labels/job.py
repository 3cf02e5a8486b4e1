"""Labels of a file: staged in a table of the run, then merged into `image.tags` in batches.

Each block of lines is staged in one transaction with the offset of the next one, so an attempt resumes there.
The merge is a batched update of the rows whose labels differ (`catalog/database/batched_update.py`).
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString, Unpack

import msgspec
from psycopg import sql
from psycopg.rows import class_row
from upath import UPath

from catalog.core.errors import Interrupted, Refused
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.database.batched_update import BatchedUpdate, Preview, preview
from catalog.database.earlier_runs import earlier_name, rename_selections
from catalog.database.selection_lock import SelectionLock
from catalog.database.selections import SelectionOptions, key_of
from catalog.database.statements import Update
from catalog.labels.file import FileVersion, version_of
from catalog.labels.lines import BLOCK, BadLine, blocks, labels_of

log = logging.getLogger(__name__)
QUERY_ID = "machine_labels"
KEPT = 30  # days that the labels of a run which failed are kept
EXAMPLES = 3  # lines that are shown for each reason
SHOWN = 200  # characters of such a line
REPEATED = "the image is in a later line again"
_SQL = Path(__file__).parent / "sql"


class Refusals(msgspec.Struct):
    """What of a file is not merged.

    Attributes:
        numbers: Reason → number of lines; reasons of single labels begin with `label: `.
        examples: Reason → the first lines with it, as number and beginning.
    """

    numbers: dict[str, int] = {}
    examples: dict[str, list[str]] = {}

    def add(self, reason: str, number: int, line: int, text: bytes) -> None:
        """Count a reason; keep the first lines with it."""
        self.numbers[reason] = self.numbers.get(reason, 0) + number
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(f"line {line:,}: {text[:SHOWN].decode(errors='replace')!a}")


class Outcome(msgspec.Struct, frozen=True):
    """What a merge did, or would do.

    Attributes:
        changed: Images whose tags changed.
        unknown: Identifiers in the file that no image has.
        left: Images whose tags are not an array, and stay as they are.
        gone: Images that were deleted during the merge.
        merged: False for a dry run.
    """

    changed: int
    unknown: int
    left: int
    gone: int = 0
    merged: bool = True


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
    def refusals(self) -> Refusals:
        return msgspec.convert(self.refused, Refusals)

    @property
    def result(self) -> Outcome | None:
        return msgspec.convert(self.outcome, Outcome | None)


def staging_table(run_id: str) -> str:
    """Return the name of the table with the labels of a run."""
    return f"machine_labels_{key_of(run_id)}"


class _Merge(BatchedUpdate):
    """The batched update of a run; see `LabelRun.merge`."""

    assignments_field = "the merge"
    condition_field = "the comparison of the labels"
    busy_message = "another run of add_machine_labels is at work ({}); clear this task when it has ended."
    row_advice = "Trigger a new run, which reads the file again."


class LabelRun:
    """One run that stages and merges a file.

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
        self._connection, self._run_id, self._url = connection, run_id, url
        self._provider, self._least = provider, least_confidence
        self._name = staging_table(run_id)
        self._table = sql.Identifier("public", self._name)

    # state

    def state(self) -> State | None:
        """Return how far the run is; None if it has not begun."""
        with self._connection.cursor(row_factory=class_row(State)) as cursor:
            return cursor.execute(
                "select url, size, version, provider, least_confidence, read_to, lines, staged, refused,"
                " outcome from label_run where run_id = %s",
                [self._run_id],
            ).fetchone()

    def rename_earlier_run(self) -> None:
        """Keep the record of an earlier run with this id under another name, and drop its labels."""
        if self.state() is None:
            return
        self._lock()
        with self._connection.transaction():
            self.drop()
            self._connection.execute(
                "update label_run set run_id = %s where run_id = %s",
                [earlier_name(self._run_id), self._run_id],
            )
            rename_selections(self._connection, QUERY_ID, self._run_id)

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
        given: tuple[object, ...] = (self._url, self._provider, self._least)
        if file and state.result:
            known, given = (*known, state.size, state.version), (*given, file.size, file.version)
        if known != given:
            raise Refused(
                f"an earlier run with the id {self._run_id} has read {state.url} ({state.size:,} bytes, "
                f"{state.version}) for {state.provider}, least confidence {state.least_confidence:g}. "
                "Nothing was merged. Trigger a new run."
            )

    def check_provider(self) -> None:
        """Refuse a provider of labels that is one of media: its own tags would be replaced."""
        row = self._connection.execute(
            "select exists (select from image where provider = %s)", [self._provider]
        ).fetchone()
        if row and row[0]:
            raise Refused(
                f"provider: {self._provider} is a provider of images, whose own tags would be replaced; "
                "name the service that made the labels."
            )

    def check_least(self) -> None:
        """Refuse a least confidence that was meant as one from 0 to 1, and would leave out nothing."""
        if 0 < self._least < 1:
            raise Refused(
                f"least_confidence: {self._least:g} of 100 leaves out hardly anything; if you mean "
                f"{self._least:.0%}, give {self._least * 100:g}."
            )

    def begin(self, file: FileVersion) -> State:
        """Create the table of the run, unless an earlier attempt has; drop those of abandoned runs.

        Args:
            file: What the file is now.

        Raises:
            Refused: The run has begun with another version of the file, or its labels were dropped.
        """
        drop_abandoned(self._connection)
        self.check_request()
        with self._connection.transaction():
            begun = self._connection.execute(
                "insert into label_run (run_id, url, size, version, provider, least_confidence)"
                " values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
                [self._run_id, self._url, file.size, file.version, self._provider, self._least],
            ).rowcount
            if begun:
                self._execute(
                    "create table {table}"
                    " (image_uuid uuid not null, line bigint not null, tags jsonb not null)"
                )
        state = self._known()
        if not state.result:
            self._check_same(state, file)
            self._require_labels(state)
        return state

    def _known(self) -> State:
        state = self.state()
        if state is None:
            raise Refused("nothing is staged by this run; clear the task that stages the labels.")
        return state

    def _staged(self) -> State:
        state = self._known()
        if state.read_to < state.size:
            raise Refused(
                f"{state.read_to:,} of {state.size:,} bytes are staged; clear the task that stages them."
            )
        return state

    def _check_same(self, state: State, file: FileVersion) -> None:
        if (state.size, state.version) != (file.size, file.version):
            raise Refused(
                f"file: {self._url} has changed since this run began to read it ({state.size:,} bytes, "
                f"{state.version}; now {file.size:,} bytes, {file.version}). Nothing was merged. "
                "Trigger a new run."
            )

    def _require_labels(self, state: State) -> None:
        """Refuse to go on with labels that somebody has dropped, truncated or deleted."""
        row = self._connection.execute(
            "select to_regclass(%s) is not null", [f'public."{self._name}"']
        ).fetchone()
        found = self._count("select count(*) from {table}") if row and row[0] else 0
        if not (row and row[0]) or found != state.staged:
            raise Refused(
                f"the labels of this run are gone: {state.staged:,} were staged, {self._name} has "
                f"{found:,}. Tags stay as they are. Trigger a new run."
            )

    def _check_newest(self) -> None:
        """Refuse to put older labels in the place of newer ones, as when an old run is cleared."""
        row = self._connection.execute(
            "select newer.run_id from label_run own join label_run newer using (provider)"
            " where own.run_id = %s and newer.started_on > own.started_on"
            " and (newer.merging_since is not null or newer.outcome ->> 'merged' = 'true')"
            " order by newer.started_on desc limit 1",
            [self._run_id],
        ).fetchone()
        if row:
            raise Refused(
                f"the newer run {row[0]} has merged labels of {self._provider}, or a part of them; those of "
                "this run would replace them. Trigger a new run if they are right."
            )

    # staging

    def stage(
        self,
        path: UPath,
        *,
        block: int = BLOCK,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> State:
        """Stage the lines that are left.

        Args:
            path: The file.
            block: Bytes to read at once.
            progress: Called after each block with the bytes that are staged, and the size of the file.
            should_stop: Called after each block; True ends the work there.

        Returns:
            The counts, over all attempts.

        Raises:
            Refused: The file has changed, or the staged labels are gone; see `begin`.
            Interrupted: `should_stop` returned True; the next attempt resumes.
        """
        self._lock()
        state = self.begin(version_of(path))
        if state.result:
            log.info("This run has ended; nothing is left to do.")
            return state
        refusals = state.refusals
        if state.read_to < state.size:
            number = state.lines
            with path.open("rb") as file:
                for lines, end in blocks(file, state.read_to, block):
                    self._stage_block(lines, end, number, refusals)
                    number += len(lines)
                    progress(end, state.size)
                    if end < state.size and should_stop():
                        raise Interrupted(
                            f"stopped on request at byte {end:,} of {state.size:,}; the next attempt resumes "
                            "there."
                        )
            self._check_same(state, version_of(path))
        self._keep_last(refusals)
        return self._known()

    def _lock(self) -> None:
        """Let no two sessions of the run stage: an earlier attempt may still be at work on the server."""
        SelectionLock(
            self._connection, self._name, self._run_id, exclusive=True, busy="another session stages labels."
        ).take(10)

    def _stage_block(self, lines: list[bytes], end: int, number: int, refusals: Refusals) -> None:
        """Stage lines, and save the offset of the next one in the same transaction."""
        staged = 0
        copy = sql.SQL("copy {} (image_uuid, line, tags) from stdin").format(self._table)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(copy) as rows:
                for at, line in enumerate(lines, number + 1):
                    if not line.strip():
                        continue
                    try:
                        found = labels_of(line, self._provider, self._least)
                    except BadLine as fault:
                        refusals.add(str(fault), 1, at, line)
                        continue
                    for reason, labels in found.faults.items():
                        refusals.add(reason, labels, at, line)
                    rows.write_row((found.image, at, json.dumps(found.tags, ensure_ascii=False)))
                    staged += 1
            cursor.execute(
                "update label_run set read_to = %s, lines = %s, staged = staged + %s, refused = %s,"
                " renewed_on = now() where run_id = %s",
                [end, number + len(lines), staged, _json(refusals), self._run_id],
            )

    def _keep_last(self, refusals: Refusals) -> None:
        """Of several lines of one image keep the last, which the service wrote last; add the key."""
        key = sql.Identifier(f"{self._name}_pkey")
        row = self._connection.execute("select to_regclass(%s)", [f'public."{self._name}_pkey"']).fetchone()
        if row and row[0]:
            return
        with self._connection.transaction():
            self._execute("create index on {table} (image_uuid, line)")
            again = self._execute(
                "delete from {table} earlier using {table} later"
                " where later.image_uuid = earlier.image_uuid and later.line > earlier.line"
            ).rowcount
            if again:
                refusals.numbers[REPEATED] = again
            self._execute("alter table {table} add constraint {key} primary key (image_uuid)", key=key)
            self._connection.execute(
                "update label_run set staged = staged - %s, refused = %s, renewed_on = now()"
                " where run_id = %s",
                [again, _json(refusals), self._run_id],
            )
        self._execute("analyze {table}")

    # merging

    def update(self) -> Update:
        """Return the update of the images whose labels differ from the staged ones."""
        parts: dict[str, sql.Composable] = {"staged": self._table, "provider": sql.Literal(self._provider)}

        def text(name: str) -> str:
            return sql.SQL(read_sql(_SQL / f"{name}.sql")).format(**parts).as_string(self._connection)

        return Update("image", ("tags",), f"updated_on = now(), tags = {text('merged')}", text("differs"))

    def preview(self) -> tuple[Outcome, Preview]:
        """Return what the merge would do. Nothing is changed."""
        self._require_labels(self._staged())
        found = preview(self._connection, self.update())
        return msgspec.structs.replace(self._outcome(found.rows, 0), merged=False), found

    def merge(self, **options: Unpack[SelectionOptions]) -> Outcome:
        """Merge the labels, or resume that.

        Args:
            options: See `StripedUpdate`.

        Returns:
            Totals over all attempts.

        Raises:
            Refused: The labels of the run are gone, a newer run has merged those of the provider, or another
                run is at work.
            Interrupted: `should_stop` returned True; the next attempt resumes.
            Retry: Rows stayed locked.
        """
        job = _Merge(self._connection, QUERY_ID, self._run_id, self.update(), **options)
        progress = job.claim(replace=True)
        state = self._staged()
        if state.result:
            log.info("This run has merged its labels; nothing is left to do.")
            return state.result
        self._check_newest()
        self._require_labels(state)
        progress = progress or job.select()
        # Before the first batch: from then on, no older run may merge, even if this one is never resumed.
        self._connection.execute(
            "update label_run set merging_since = coalesce(merging_since, now()) where run_id = %s",
            [self._run_id],
        )
        progress = job.run(progress)
        self._require_labels(state)  # again: without its staged labels, an image keeps its tags
        outcome = self._outcome(progress.updated, progress.missing)
        job.finish()
        self.end(outcome)
        return outcome

    def end(self, outcome: Outcome) -> None:
        """Store what the run did; from then on, its tasks have nothing left to do."""
        self._connection.execute(
            "update label_run set outcome = %s, renewed_on = now() where run_id = %s",
            [_json(outcome), self._run_id],
        )

    def _outcome(self, changed: int, gone: int) -> Outcome:
        unknown = self._count(
            "select count(*) from {table} where not exists (select from image where identifier = image_uuid)"
        )
        left = self._count(
            "select count(*) from image join {table} on identifier = image_uuid"
            " where jsonb_typeof(image.tags) not in ('array', 'null')"
        )
        return Outcome(changed, unknown, left, gone)

    def ended(self) -> State:
        """Return the counts of a run whose merge has ended. Raises Refused if it has not."""
        state = self._known()
        if not state.result:
            raise Refused("the labels of this run are not merged; clear the task that merges them.")
        return state

    def drop(self) -> None:
        """Drop the staged labels; the row of the run stays."""
        self._execute("drop table if exists {table}")

    # statements

    def _count(self, statement: LiteralString) -> int:
        row = self._execute(statement).fetchone()
        assert row
        return int(row[0])

    def _execute(self, statement: LiteralString, **parts: sql.Composable) -> Any:
        return self._connection.execute(sql.SQL(statement).format(table=self._table, **parts))


def drop_abandoned(connection: Connection, days: float = KEPT) -> list[str]:
    """Drop the labels of runs that nobody has resumed; their rows in `label_run` stay.

    Args:
        connection: Connection to the catalog database, in autocommit.
        days: Days without progress after which a run counts as abandoned.

    Returns:
        The names of the tables.
    """
    old = connection.execute(
        "select run_id from label_run where renewed_on < now() - make_interval(secs => %s)", [days * 86_400]
    ).fetchall()
    tables = [staging_table(run_id) for (run_id,) in old]
    existing = connection.execute(
        "select tablename from pg_tables where schemaname = 'public' and tablename = any(%s)", [tables]
    ).fetchall()
    for (table,) in existing:
        connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("public", table)))
    return [table for (table,) in existing]


def _json(value: Refusals | Outcome) -> str:
    return msgspec.json.encode(value).decode()
