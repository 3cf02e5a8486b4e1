"""Modules of our own that processes inherit from their parent, unless a file has changed meanwhile."""

import importlib
import os
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

_File = tuple[str, int, int]  # path, time of modification, size


def import_before_forking(package: Path, modules: Iterable[str], unread: Collection[str]) -> None:
    """Import modules of a package, which all processes that are forked later inherit.

    An edit takes effect with the next process all the same: if a file of the package was changed, added or
    removed, a forked process forgets the package's modules, and imports what it needs again.

    Args:
        package: Folder of the package.
        modules: Names of modules.
        unread: Names of folders that hold nothing of these modules.
    """
    imported_from = _files(package, unread)
    for name in modules:
        with suppress(Exception):  # a process that needs it reports the error
            importlib.import_module(name)

    def forget_after_an_edit() -> None:
        if _files(package, unread) != imported_from:
            for name in [name for name in sys.modules if name.startswith(f"{package.name}.")]:
                del sys.modules[name]

    os.register_at_fork(after_in_child=forget_after_an_edit)


def _files(package: Path, unread: Collection[str]) -> set[_File]:
    found: set[_File] = set()
    folders = [str(package)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # a folder that has just been removed
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    with suppress(OSError):  # as of the link by which an editor locks a file
                        about = entry.stat()
                        found.add((entry.path, about.st_mtime_ns, about.st_size))
                elif entry.name not in unread:
                    folders.append(entry.path)
    return found
