"""The session of one task: it holds the shared snapshot, and writes one part after the other."""

import logging
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import cycle
from types import MappingProxyType

import psycopg
from upath import UPath

from catalog.core.errors import Interrupted
from catalog.core.media import MediaType
from catalog.core.session import Connection, settle
from catalog.publishing import new_version, part_states
from catalog.publishing.arrow_session import connect, conninfo_of, read_in
from catalog.publishing.files import Written
from catalog.publishing.part_writer import PartWriter
from catalog.publishing.parts import Part
from catalog.publishing.paths import version_folder
from catalog.publishing.pipeline import Pipeline
from catalog.publishing.sensitive import Sensitive
from catalog.publishing.shared_snapshot import shared_snapshot

log = logging.getLogger(__name__)
_POLL = 0.5  # seconds between two looks at what other sessions write


def write_parts(
    control: Connection,
    holder: Connection,
    root: UPath,
    number: int,
    *,
    sensitive: Sensitive | None = None,
    moderated: Mapping[MediaType, Collection[str]] = MappingProxyType({}),
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Write parts of a version, together with other sessions, until all are written.

    A session that finds no part left stays until the others have ended theirs: it keeps the snapshot for
    them, and writes the part of one that is killed.

    Args:
        control: Connection to the catalog, in autocommit.
        holder: Another one, which keeps the snapshot.
        root: The folder of all versions.
        number: Number of the version.
        sensitive: Finds records to leave out; None to keep all.
        moderated: Identifiers of records that moderators want to be left out.
        should_stop: Called for each batch of rows.
        progress: Called with the number of rows that this session has written.

    Returns:
        The number of rows that this session has written.

    Raises:
        Interrupted: `should_stop` returned True; the next attempt writes the part again.
        Retry: The snapshot was lost in the middle of a part.
        Fatal: The snapshot was lost too often.
        Refused: The version is not written any more.
    """
    rows = 0
    folder = root / version_folder(number)

    def check() -> None:
        if should_stop():
            raise Interrupted(f"asked to stop after {rows:,} rows; the next attempt resumes there.")

    part_states.forget_moved(control, number)
    if part_states.is_complete(control, number):
        return rows
    conninfo = conninfo_of(holder)
    # Arrow's is opened first: it locks the tables before the snapshot is taken, and a password may expire.
    with ExitStack() as stack:
        stack.enter_context(new_version.at_work(control, number))
        arrow = stack.enter_context(closing(connect(conninfo)))
        second = stack.enter_context(psycopg.connect(conninfo, autocommit=True))
        settle(second)
        snapshot_number, exported = stack.enter_context(shared_snapshot(control, holder, number))
        read_in(arrow, exported)
        pipeline = stack.enter_context(Pipeline())
        planned = part_states.parts_of(control, number)

        def read(part: Part) -> PartWriter:
            media_type = part.media_type
            writer = PartWriter(
                pipeline, folder, media_type, part.number, sensitive, moderated.get(media_type, ())
            )
            writer.read(arrow, part.condition(planned), check)
            return writer

        def recorded(written: Written) -> None:
            nonlocal rows
            rows += written.rows_read
            progress(rows)

        # Two take turns, so that a part is read while the last rows of the other are converted and stored.
        turns = [
            stack.enter_context(
                closing(_write_in_turns(claimer, number, snapshot_number, planned, read, recorded))
            )
            for claimer in (control, second)
        ]
        idle = 0
        for turn in cycle(turns):
            check()
            idle = 0 if next(turn) else idle + 1
            if idle >= len(turns):
                if part_states.is_complete(control, number):
                    break
                time.sleep(_POLL)
    return rows


def _write_in_turns(
    control: Connection,
    number: int,
    snapshot_number: int,
    planned: Sequence[Part],
    read: Callable[[Part], PartWriter],
    recorded: Callable[[Written], None],
) -> Generator[bool]:
    """Claim and read one part after the other; record each when the next one is asked for.

    Args:
        control: Connection to the catalog, in autocommit, which claims the parts.
        number: Number of the version.
        snapshot_number: Number of the snapshot in which they are read.
        planned: All parts.
        read: Reads a part.
        recorded: Called with what was written and recorded.

    Yields:
        Whether there was a part to claim.
    """
    while True:
        with control.transaction():
            claimed = part_states.claim(control, number, snapshot_number)
            if claimed is not None:
                writer = read(planned[claimed])
                yield True
                written = writer.written()
                part_states.record(control, number, snapshot_number, planned[claimed], written)
        if claimed is None:
            yield False
        else:
            recorded(written)
