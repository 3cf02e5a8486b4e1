"""Files that are written completely or not at all, in file systems and object stores."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upath import UPath

_BUFFER = 8 << 20  # bytes; object stores require parts of at least 5 MiB


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
    partial = _partial(target)
    try:
        with _create(partial, mode) as file:
            yield file
            sync(file)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, shown) from error  # a full disk has no name


class StreamedFile:
    """A file that is written in pieces, and seen when it is published; an existing one stays until then.

    Args:
        path: Path of the file; missing folders are made.
    """

    def __init__(self, path: "UPath") -> None:
        self._path, self._published = path, False
        self._partial: Path | None = None
        self._file: Any
        if is_local(path):
            self._partial = _partial(Path(path.path))
            self._file = _create(self._partial)
        else:  # a multipart upload, which is invisible until it is committed
            self._file = path.fs.open(path.path, "wb", block_size=_BUFFER, autocommit=False)

    def write(self, data: bytes) -> None:
        """Append to the file."""
        self._file.write(data)

    def publish(self) -> None:
        """Make the file visible."""
        if self._partial is not None:
            sync(self._file)
        self._file.close()
        if self._partial is not None:
            self._partial.replace(self._path.path)
        else:
            self._file.commit()
        self._published = True

    def withdraw(self) -> None:
        """Remove the file, even if it has been published."""
        if self._published:
            self._path.unlink()
            return
        try:
            self._file.close()
        finally:
            if self._partial is not None:
                self._partial.unlink()
            else:
                self._file.discard()


def sync(file: IO[bytes]) -> None:
    """Write a file to the disk. Otherwise, after a power loss, its new name may stand for an empty file."""
    file.flush()
    os.fsync(file.fileno())


def _partial(target: Path) -> Path:
    """Return the file beside another one that is written first; missing folders are made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f"{target.name}.partial")


def _create(partial: Path, mode: int = 0o666) -> IO[bytes]:
    """Create a file; one that an earlier attempt has left may have other permissions."""
    partial.unlink(missing_ok=True)
    return os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
