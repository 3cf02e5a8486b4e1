"""Modules of our own that processes inherit from their parent, unless a file has changed meanwhile."""

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_UNREAD = ("__pycache__", "recording", "tests")  # no import reads what is in these folders

_File = tuple[str, int, int]  # path, time of modification, size


def import_before_forking(package: Path, modules: Iterable[str]) -> None:
    """Import modules of a package, which all processes that are forked later inherit.

    An edit takes effect with the next process all the same: if a file of the package was changed, added or
    removed, a forked process forgets the package's modules, and imports anew what it needs.

    Args:
        package: Folder of the package.
        modules: Names of modules.
    """
    imported_from = _files(package)
    for name in modules:
        with suppress(Exception):  # a process that needs it reports the error
            importlib.import_module(name)

    def forget_after_an_edit() -> None:
        if _files(package) != imported_from:
            for name in [name for name in sys.modules if name.startswith(f"{package.name}.")]:
                del sys.modules[name]

    os.register_at_fork(after_in_child=forget_after_an_edit)


def _files(folder: Path) -> set[_File]:
    found: set[_File] = set()
    with suppress(OSError):  # a file or folder that has just been removed
        found.update(_walk(str(folder)))
    return found


def _walk(folder: str) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _UNREAD:
                    yield from _walk(entry.path)
            else:
                about = entry.stat()
                yield entry.path, about.st_mtime_ns, about.st_size
