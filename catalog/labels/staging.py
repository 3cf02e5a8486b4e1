"""The lines of a file are staged in a table of the run.

Each block of lines is staged in one transaction with the offset of the next one, so an attempt resumes there.
"""

import json
import logging
from collections.abc import Callable

from psycopg import sql
from upath import UPath

from catalog.core.errors import Interrupted, Refused
from catalog.core.queries import relation_exists
from catalog.core.session import interruptible
from catalog.database.refusals import Judge, refuse_all
from catalog.labels.age import refuse_older
from catalog.labels.file import FileVersion, version_of
from catalog.labels.lines import ALL_LOW, BLOCK, LOW, NONE_FOUND, NOT_JSON, BadLine, blocks, labels_of
from catalog.labels.run import ENDED, LabelRun, State, drop_abandoned, encoded
from catalog.labels.shortfall import refuse_shortfall
from catalog.labels.unmerged import UnmergedLines

log = logging.getLogger(__name__)
REPEATED = "the image is in a later line again"


def stage(
    run: LabelRun,
    path: UPath,
    *,
    shortfall: Judge = refuse_all,
    older: Judge = refuse_all,
    block: int = BLOCK,
    progress: Callable[[int, int], object] = lambda _done, _total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> State:
    """Stage the lines that are left.

    Args:
        run: The run.
        path: The file.
        shortfall: Says whether it is accepted that the file lacks much, or takes it from images.
        older: Says whether it is accepted that the file is older than one that was merged.
        block: Bytes to read at once.
        progress: Called after each block with the bytes that are staged, and the size of the file.
        should_stop: Called after each block, and during long statements; True ends the work there.

    Returns:
        The counts, over all attempts.

    Raises:
        Refused: The run has begun with another version of the file, or the file has changed, or the staged
            labels are gone; or the file lacks or takes much, or is an older one, and that is not accepted.
        Interrupted: `should_stop` returned True; the next attempt resumes.
    """
    run.lock()
    run.check_request()
    if (ended := run.state()) and ended.result:
        log.info(ENDED)
        return ended
    state = _begin(run, version_of(path))
    unmerged = state.unmerged
    if state.read_to < state.size:
        number, start = state.lines, state.read_to
        with path.open("rb") as file:
            for lines, end in blocks(file, state.read_to, block):
                # Every line has been read with its end, but for one that is cut.
                cut = end - start < sum(len(line) + 1 for line in lines)
                _stage_block(run, lines, end, number, unmerged, cut=cut)
                number, start = number + len(lines), end
                progress(end, state.size)
                if end < state.size and should_stop():
                    raise Interrupted(
                        f"stopped on request at byte {end:,} of {state.size:,}; the next attempt resumes "
                        "there."
                    )
        _check_same(run, state, version_of(path))
    with interruptible(run.connection, should_stop):
        _keep_last(run, unmerged)
        state = run.known()
        refuse_shortfall(run, state, unmerged, shortfall)
        refuse_older(run, state, older)
    return state


def _begin(run: LabelRun, file: FileVersion) -> State:
    """Create the table of the run, unless an earlier attempt has; drop those of abandoned runs."""
    drop_abandoned(run.connection)
    with run.connection.transaction():
        begun = run.connection.execute(
            # A time to come is that of a wrong clock, and would make each later file an older one.
            "insert into label_run"
            " (run_id, url, size, version, file_changed_on, provider, least_confidence)"
            " values (%s, %s, %s, %s, least(%s, clock_timestamp()), %s, %s) on conflict do nothing",
            [
                run.run_id,
                run.url,
                file.size,
                file.version,
                file.changed_on,
                run.provider,
                run.least_confidence,
            ],
        ).rowcount
        if begun:
            run.execute(
                "create table {table} (image_uuid uuid not null, line bigint not null, tags jsonb not null)"
            )
    state = run.known()
    _check_same(run, state, file)
    run.require_labels(state)
    return state


def _check_same(run: LabelRun, state: State, file: FileVersion) -> None:
    if (state.size, state.version) != (file.size, file.version):
        raise Refused(
            f"file: {run.url} has changed since this run began to read it ({state.size:,} bytes, "
            f"{state.version}; now {file.size:,} bytes, {file.version}). Nothing was merged. "
            "Trigger a new run."
        )


def _stage_block(
    run: LabelRun, lines: list[bytes], end: int, number: int, unmerged: UnmergedLines, *, cut: bool
) -> None:
    """Stage lines, and save the offset of the next one in the same transaction.

    Args:
        run: The run.
        lines: The lines.
        end: Offset of the next one.
        number: Number of lines before.
        unmerged: What is not merged; these lines are added.
        cut: The last line has no end.
    """
    staged = 0
    copy = sql.SQL("copy {} (image_uuid, line, tags) from stdin").format(run.table)
    with run.connection.transaction(), run.connection.cursor() as cursor:
        with cursor.copy(copy) as rows:
            for at, line in enumerate(lines, number + 1):
                if not line.strip():
                    continue
                unmerged.read += 1
                try:
                    found = labels_of(line, run.provider, run.least_confidence)
                except BadLine as fault:
                    reason = str(fault)
                    if reason in (ALL_LOW, NONE_FOUND):
                        unmerged.add(reason, 1, at, line)
                    else:
                        is_cut = cut and reason == NOT_JSON and at == number + len(lines)
                        unmerged.add_unusable(reason, at, line, cut=is_cut)
                    continue
                if found.low:
                    unmerged.add(LOW, found.low, at, line)
                rows.write_row((found.image, at, json.dumps(found.tags, ensure_ascii=False)))
                staged += 1
        cursor.execute(
            "update label_run set read_to = %s, lines = %s, staged = staged + %s, refused = %s,"
            " renewed_on = now() where run_id = %s",
            [end, number + len(lines), staged, encoded(unmerged), run.run_id],
        )


def _keep_last(run: LabelRun, unmerged: UnmergedLines) -> None:
    """Of several lines of one image keep the last, which the service wrote last; add the key."""
    key = sql.Identifier(f"{run.name}_pkey")
    if relation_exists(run.connection, f"{run.name}_pkey"):
        return
    with run.connection.transaction():
        run.execute("create index on {table} (image_uuid, line)")
        again = run.execute(
            "delete from {table} earlier using {table} later"
            " where later.image_uuid = earlier.image_uuid and later.line > earlier.line"
        ).rowcount
        if again:
            unmerged.numbers[REPEATED] = again
        run.execute("alter table {table} add constraint {key} primary key (image_uuid)", key=key)
        run.connection.execute(
            "update label_run set staged = staged - %s, refused = %s, renewed_on = now() where run_id = %s",
            [again, encoded(unmerged), run.run_id],
        )
    run.execute("analyze {table}")
