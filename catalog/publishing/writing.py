"""The session of one task: it holds the shared snapshot, and writes one part after the other."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from upath import UPath

from catalog.core.errors import Interrupted
from catalog.core.session import Connection
from catalog.publishing import versions
from catalog.publishing.export import PartWriter, Written, connect, conninfo_of, read_in
from catalog.publishing.parts import Part
from catalog.publishing.paths import version_folder
from catalog.publishing.sensitive import Sensitive

log = logging.getLogger(__name__)
_POLL = 0.5  # seconds between two looks at what other sessions write


def write_parts(
    control: Connection,
    holder: Connection,
    root: UPath,
    number: int,
    *,
    sensitive: Sensitive | None = None,
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
        number: Of the version.
        sensitive: Finds records to leave out; None to keep all.
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

    versions.forget_moved(control, number)
    if versions.is_whole(control, number):
        return rows
    # It is opened first: it locks the tables before the snapshot is taken, and a password may expire.
    with (
        closing(connect(conninfo_of(holder))) as arrow,
        versions.shared_state(control, holder, number) as (state, exported),
    ):
        read_in(arrow, exported)

        def write(part: Part, parts: Sequence[Part]) -> Written:
            nonlocal rows
            writer = PartWriter(folder, part.media_type, part.number, sensitive)
            written = writer.write(arrow, part.condition(parts), check)
            rows += written.rows_read
            return written

        while not versions.is_whole(control, number):
            check()
            if versions.write_next(control, number, state, write):
                progress(rows)
            else:
                time.sleep(_POLL)
    return rows
