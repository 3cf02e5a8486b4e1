"""Files of the dataset in object storage: complete or absent, with checksums of what is stored."""

import errno
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO
from uuid import uuid4

import msgspec
from humanize import naturalsize
from upath import UPath

from catalog.core.errors import Fatal, Retry
from catalog.core.files import is_local, replacing, write_atomically
from catalog.publishing.paths import MANIFEST, POINTER, version_folder, version_number
from catalog.publishing.scratch import is_disk_full

FORMAT = "media-catalog-dataset"  # marks a pointer or manifest as ours
_CHUNK = 1 << 20  # bytes


class Stored(msgspec.Struct, frozen=True):
    """A file that was stored.

    Attributes:
        path: Relative to the version's folder.
        bytes: Size.
        sha256: Checksum, in hexadecimal.
    """

    path: str
    bytes: int
    sha256: str


class Altered(Exception):
    """A stored file is missing, or is not the one that was written; the message says which."""


class Pointer(msgspec.Struct, frozen=True):
    """The file that names the newest version. It is written last.

    Attributes:
        version: Number of the version.
        folder: Its folder, relative to the pointer.
        token: Identifies the version beyond its number.
        manifest_sha256: Checksum of its manifest.
        published_on: Time in UTC, ISO 8601.
        format: `FORMAT`.
    """

    version: int
    folder: str
    token: str
    manifest_sha256: str
    published_on: str
    format: str = ""


class Mark(msgspec.Struct, frozen=True):
    """What tells a manifest of ours, and of which version it is."""

    version: int
    token: str
    format: str = ""


def name_of(root: UPath) -> str:
    """Return the name of a folder of versions: the same one with and without a slash at its end."""
    return str(root).rstrip("/")


def store_file(local: Path, folder: UPath, name: str) -> Stored:
    """Store a local file completely or not at all.

    Args:
        local: The file.
        folder: The version's folder.
        name: Path of the new file in it.

    Raises:
        Retry: What was stored has another size, or the disk is full.
    """
    digest = hashlib.sha256()
    target = folder / name
    if is_local(target):
        with _writing(folder), local.open("rb") as source, replacing(Path(target.path), str(target)) as copy:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
    else:
        with local.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
        target.fs.put_file(str(local), target.path)  # one PUT, or a multipart upload completed at the end
    size = local.stat().st_size
    if (found := size_of(target)) != size:
        raise Retry(f"{name} was stored with {found} bytes instead of {size:,}.")
    return Stored(name, size, digest.hexdigest())


def store_bytes(data: bytes, folder: UPath, name: str) -> Stored:
    """Store a small file completely or not at all, and read it back. Raises Retry if it is another one."""
    with _writing(folder):
        write_atomically(folder / name, data)
    _require_stored(folder / name, data)
    return Stored(name, len(data), hashlib.sha256(data).hexdigest())


def _require_stored(path: UPath, data: bytes) -> None:
    found = _read(path)
    if found != data:
        there = "is missing" if found is None else f"has {len(found):,} bytes, of which some are others"
        raise Retry(
            f"the storage has confirmed {path}, {len(data):,} bytes, but the file {there}. If it stays so, "
            "look for what changes or truncates files there."
        )


@contextmanager
def _writing(folder: UPath) -> Iterator[None]:
    """Raise Retry with a remedy if a folder of a file system cannot take more."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EROFS:
            raise Retry(
                f"{folder} cannot be written: its file system is read-only. Mount it for writing, then clear "
                "the failed task with its downstream tasks."
            ) from error
        if not is_disk_full(error):
            raise
        held = sum(size_of(folder / name) or 0 for name in files_in(folder))
        raise Retry(
            f"the disk of {folder} is full: {naturalsize(_free(folder))} are free, and this folder holds "
            f"{naturalsize(held)}. Free space or "
            "enlarge the disk, then clear the failed task with its downstream tasks: only what is missing is "
            "written. If you trigger a new run instead, it deletes this folder before it writes its own."
        ) from error


def _free(folder: UPath) -> int:
    path = Path(folder.path)
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def open_stored(folder: UPath, stored: Stored) -> IO[bytes]:
    """Open a local copy of a stored file, byte for byte what was written; it is gone when it is closed.

    Args:
        folder: The version's folder.
        stored: The file, as it was recorded when it was written.

    Raises:
        Altered: It is missing, or has another checksum.
        Retry: The storage cannot say so now.
    """
    with ExitStack() as stack:
        copy: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
        for chunk in _checked_chunks(folder, stored):
            copy.write(chunk)
        copy.seek(0)
        stack.pop_all()
        return copy


def require_unaltered(folder: UPath, stored: Stored) -> None:
    """Check that a stored file is what was written; arguments and errors as of `open_stored`."""
    for _ in _checked_chunks(folder, stored):
        pass


def _checked_chunks(folder: UPath, stored: Stored) -> Iterator[bytes]:
    """Yield the contents of a file; raise Altered at their end if they are others than were written."""
    digest = hashlib.sha256()
    for chunk in _chunks(folder / stored.path):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != stored.sha256:
        raise Altered("is not as written: it has another SHA-256")


def _chunks(path: UPath) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise Altered("is missing") from None
    except OSError as error:  # the file may be whole
        raise Retry(
            f"{path} could not be read ({error.strerror or type(error).__name__}). If it stays so, delete "
            "the file, and clear compare_versions with its downstream tasks."
        ) from error


def size_of(path: UPath) -> int | None:
    """Return the size of a file in bytes; None if there is none."""
    path.fs.invalidate_cache()
    try:
        return int(path.fs.size(path.path))
    except FileNotFoundError:
        return None


def read_pointer(root: UPath) -> Pointer | None:
    """Return the pointer to the newest version; None if there is none.

    Raises:
        Fatal: The file is not one of ours.
    """
    data = _read(root / POINTER)
    if data is None:
        return None
    try:
        pointer = msgspec.json.decode(data, type=Pointer)
    except msgspec.DecodeError:
        pointer = None
    if pointer is None or pointer.format != FORMAT or pointer.folder != version_folder(pointer.version):
        raise Fatal(
            f"{root / POINTER} is not a pointer of this dataset, so it is not replaced. Give the Variable "
            "DATASET_STORAGE a folder of its own, or restore the file."
        )
    return pointer


def write_pointer(root: UPath, pointer: Pointer) -> None:
    """Make a version the newest one.

    Raises:
        Retry: The disk is full, or the storage has not kept the pointer; the one before stays.
    """
    path, data = root / POINTER, msgspec.json.format(msgspec.json.encode(pointer))
    before = _read(path)
    with _writing(root / pointer.folder):
        write_atomically(path, data)
    try:
        _require_stored(path, data)
    except Retry:
        if before is None:
            delete_file(root, POINTER)
        else:
            write_atomically(path, before)
        raise


def mark_of(root: UPath, number: int) -> Mark | None:
    """Return the mark of a version's manifest; None if the folder has no manifest of ours for the version."""
    data = _read(root / version_folder(number) / MANIFEST)
    try:
        mark = msgspec.json.decode(data, type=Mark) if data else None
    except msgspec.DecodeError:
        return None
    return mark if mark and mark.format == FORMAT and mark.version == number else None


def versions_in(root: UPath) -> list[int]:
    """Return the numbers of all folders that are named like a version, in ascending order."""
    root.fs.invalidate_cache()
    try:
        names = [PurePosixPath(child).name for child in root.fs.ls(root.path, detail=False)]
    except FileNotFoundError:
        return []
    return sorted(number for name in names if (number := version_number(name)))


def files_in(folder: UPath) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it."""
    folder.fs.invalidate_cache()
    try:
        found = folder.fs.find(folder.path)
    except FileNotFoundError:
        return
    base = folder.path.rstrip("/") + "/"
    yield from (path[len(base) :] for path in found if path.startswith(base))


def delete_file(folder: UPath, name: str) -> None:
    """Delete a file, if it is there."""
    path = folder / name
    try:
        path.fs.rm_file(path.path)
    except FileNotFoundError:
        return


def delete_version(root: UPath, number: int) -> int:
    """Delete a version's folder, the manifest last: while it is there, the folder is known as ours.

    Returns:
        The number of files that were deleted.
    """
    folder = root / version_folder(number)
    names = sorted(files_in(folder), key=lambda name: name == MANIFEST)
    with _writing(folder):
        for name in names:
            delete_file(folder, name)
        if is_local(folder) and Path(folder.path).is_dir():
            shutil.rmtree(folder.path)
    return len(names)


def new_attempt() -> str:
    """Return a part of a file's name that no other attempt has."""
    return uuid4().hex[:8]


def _read(path: UPath) -> bytes | None:
    path.fs.invalidate_cache()
    try:
        return bytes(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
