"""Folders on the local disk for files that are not complete yet."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "catalog-dataset-"
_DEAD = 2 * 86_400  # seconds without a new file after which nobody works in a folder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder, and delete it at the end. Those that killed tasks have left are deleted first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another task deletes it, or it is another user's
            if left.stat().st_mtime < time.time() - _DEAD:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        yield Path(folder)
