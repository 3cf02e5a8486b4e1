"""Files that are written completely or not at all, in file systems and object stores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upath import UPath


def is_local(path: "UPath | Path") -> bool:
    """Return whether a path is in a file system."""
    return getattr(path, "protocol", "") in ("", "file", "local")


def write_atomically(path: "UPath | Path", data: bytes, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old file or the whole new one, even after a power loss.

    Args:
        path: The file; missing folders are made.
        data: Its content.
        mode: Permissions of the file, which the umask of the process restricts.

    Raises:
        OSError: The disk is full, among others; the error names the file.
    """
    if not is_local(path):
        store: Any = path
        store.fs.pipe_file(store.path, data)  # one PUT, or a multipart upload completed only at the end
        return
    with replacing(Path(str(getattr(path, "path", path))), str(path), mode) as file:
        file.write(data)


@contextmanager
def replacing(target: Path, shown: str, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Yield a file that replaces another one at the end of the block, when it is on the disk.

    Args:
        target: The file; missing folders are made.
        shown: Its name in errors.
        mode: Permissions of the file, which the umask of the process restricts.

    Raises:
        OSError: The disk is full, among others; the error names the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # it may have other permissions
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            sync(file)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, shown) from error  # a full disk has no name


def sync(file: IO[bytes]) -> None:
    """Write a file to the disk. Otherwise, after a power loss, its new name may stand for an empty file."""
    file.flush()
    os.fsync(file.fileno())
