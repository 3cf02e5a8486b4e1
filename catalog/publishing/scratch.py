"""Folders on the local disk for files that are not complete yet."""

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from humanize import naturalsize

from catalog.core.errors import Retry

_PREFIX = "catalog-dataset-"
_DEAD = 2 * 86_400  # seconds without a new file after which nobody works in a folder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder, and delete it at the end. Those that killed tasks have left are deleted first.

    Raises:
        Retry: The disk of the folder is full.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another task deletes it, or it is another user's
            if left.stat().st_mtime < time.time() - _DEAD:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        try:
            yield Path(folder)
        except OSError as error:
            if not is_disk_full(error):
                raise
            free = naturalsize(shutil.disk_usage(folder).free)
            raise Retry(
                f"the disk of {folder} is full: {free} are free. Files are written there before they are "
                "stored. Free space, or let the environment variable TMPDIR name a folder with more room, "
                "then clear the failed task with its downstream tasks: only what is missing is written."
            ) from error


def is_disk_full(error: OSError) -> bool:
    """Return whether a disk, or what a user may take of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
