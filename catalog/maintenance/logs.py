"""Finds and deletes old logs of tasks and components.

A run has the folder `dag_id=…/run_id=…`, the dag-processor and the scheduler have one folder per day, and
callbacks that executors run log below `executor_callbacks`. Symbolic links are neither followed nor deleted.
"""

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)
DATED = ("scheduler", "dag_processor")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class LogFolder(msgspec.Struct, frozen=True):
    """A folder of logs.

    Attributes:
        path: The folder.
        size: Total size of its files, in bytes.
        newest: Time of the last change in the folder, in seconds since the epoch.
    """

    path: Path
    size: int
    newest: float


def old_logs(base: Path, days: float, now: float, is_running: Callable[[str, str], bool]) -> list[LogFolder]:
    """Return folders that have not changed for a number of days, except those of today and of active runs.

    Args:
        base: The log folder.
        days: Minimum age in days; a negative number selects folders of any age.
        now: Current time, in seconds since the epoch.
        is_running: Called with the DAG id and the run id of a folder that is old enough; returns True if the
            run is active.
    """
    root = base.resolve()
    today = max(
        (p.name for name in DATED for p in _folders(root / name) if _DAY.fullmatch(p.name)), default=""
    )
    found = []
    for path in _units(root):
        if path.parent.name in DATED and path.name == today:
            continue
        about = _measure(path)
        if about is None:
            continue
        if days >= 0 and about.newest > now - days * 86_400:
            continue
        if path.name.startswith("run_id=") and is_running(
            path.parent.name.removeprefix("dag_id="), path.name.removeprefix("run_id=")
        ):
            continue
        found.append(about)
    return found


def delete(base: Path, folders: list[LogFolder]) -> list[LogFolder]:
    """Delete folders, and the folders of DAGs that become empty.

    A folder that cannot be deleted is logged and skipped.

    Args:
        base: The log folder.
        folders: The folders to delete.

    Returns:
        The folders that are gone.

    Raises:
        ValueError: A path is not below `base`, or is a symbolic link.
    """
    root, deleted = base.resolve(), list[LogFolder]()
    for folder in folders:
        if (
            not folder.path.resolve().is_relative_to(root)
            or folder.path.resolve() == root
            or folder.path.is_symlink()
        ):
            raise ValueError(f"{folder.path} is not below {root}, or is a symbolic link; it is not deleted.")
        try:
            shutil.rmtree(folder.path)
        except OSError as error:
            shutil.rmtree(folder.path, ignore_errors=True)  # another process was writing or deleting there
            if folder.path.exists():
                log.warning("%s is not deleted: %s", folder.path, error)
                continue
        deleted.append(folder)
        parent = folder.path.parent
        if parent.name.startswith("dag_id="):
            with suppress(OSError):  # it has other runs
                parent.rmdir()
    return deleted


def _units(root: Path) -> Iterator[Path]:
    """Yield the folders that are deleted as a whole."""
    for folder in _folders(root):
        if folder.name.startswith("dag_id="):
            yield from (p for p in _folders(folder) if p.name.startswith("run_id="))
        elif folder.name in DATED:
            yield from (p for p in _folders(folder) if _DAY.fullmatch(p.name))
        elif folder.name == "executor_callbacks":
            yield from _folders(folder)


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        log.warning("%s is skipped: %s", path, error)
        return []


def _measure(path: Path) -> LogFolder | None:
    """Return size and time of last change of a folder; None if it is missing or cannot be read."""

    def give_up(error: OSError) -> None:
        raise error

    try:
        size, newest = 0, path.stat().st_mtime
        for folder, _, files in os.walk(path, onerror=give_up):  # does not follow links
            for name in files:
                about = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - faster for 100,000 files
                size, newest = size + about.st_size, max(newest, about.st_mtime)
    except OSError as error:
        log.warning("%s is not deleted: %s", path, error)
        return None
    return LogFolder(path, size, newest)
