"""The version that a run works on, by what the table and the storage say together."""

import logging

from upath import UPath

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection
from catalog.publishing.storage import mark_of, name_of, read_pointer
from catalog.publishing.versions import AGAIN, Version, note_published, of_run, read

log = logging.getLogger(__name__)


def working(connection: Connection, root: UPath, run_id: str) -> Version:
    """Return the version that a run writes or has published.

    Raises:
        Fatal: A newer run has begun, the storage has a newer version, or it is another one than before.
    """
    version = of_run(connection, run_id)
    if version is None:
        raise Fatal(f"this run has no version; clear its first task with its downstream tasks, or {AGAIN}")
    with connection.transaction():
        version = read(connection, version.number, lock=True)
        require_root(version, root)
        version = reconciled(connection, root, version)
    if version.stage not in ("writing", "published"):
        raise Fatal(
            f"version {version.number} of this run is {version.stage}, because a newer run began; {AGAIN}"
        )
    return version


def held(connection: Connection, root: UPath, version: Version) -> Version:
    """Lock a version, until the transaction ends, and return it as it is now.

    Args:
        connection: Connection to the catalog, in a transaction.
        root: The folder of all versions.
        version: The version, as `working` returned it.

    Raises:
        Retry: The version has another state by now, or is not written any more.
        Fatal: The storage has a newer version.
    """
    current = read(connection, version.number, lock=True)
    if current.stage == "writing":
        require_root(current, root)
        current = reconciled(connection, root, current)
    if current.stage == "published":
        return current
    if current.stage != "writing" or current.snapshot_number != version.snapshot_number:
        raise Retry(f"version {version.number} is {current.stage}, or has another state than a moment ago.")
    return current


def require_root(version: Version, root: UPath) -> None:
    """Raise Fatal if a version that is being written belongs to another folder."""
    if version.stage == "writing" and version.root.rstrip("/") != name_of(root):
        raise Fatal(
            f"the Variable DATASET_STORAGE was changed to {name_of(root)}, but version {version.number} of "
            f"this run is written to {version.root}. Nothing was changed; give it its former value, or "
            f"{AGAIN}"
        )


def reconciled(connection: Connection, root: UPath, version: Version, own: bool = True) -> Version:
    """Compare a version that is not recorded as published with the pointer; the row is locked.

    A run that was killed after it wrote the pointer has published its version. In a database that was
    restored, a version may be older than the pointer although it is recorded as unfinished; then it must not
    be written again.
    """
    if version.stage != "writing":
        return version
    pointer = read_pointer(root)
    if pointer is None or pointer.version < version.number:
        return version
    mark = mark_of(root, version.number)
    if mark is not None and mark.token == version.token:
        log.info("version %s is published, as the storage says; the table did not know it", version.number)
        return note_published(connection, version.number, version.summary)
    if own:
        raise Fatal(
            f"{root} has version {pointer.version}, which this run has not written, but this run would write "
            f"version {version.number}; the catalog database was probably restored. Nothing was changed; "
            f"{AGAIN}"
        )
    return version
