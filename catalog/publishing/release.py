"""The last steps of a version: compare it with the one before, and make it the newest one."""

import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from upath import UPath

from catalog.core.dates import utc
from catalog.core.errors import Fatal, Retry
from catalog.core.queries import database_time
from catalog.core.session import Connection
from catalog.core.settings import CATALOG_DB
from catalog.core.wording import join_first
from catalog.database.refusals import Finding, Found, Judge, refuse_all
from catalog.publishing import (
    changes,
    manifest,
    new_version,
    ownership,
    part_counts,
    part_states,
    run_version,
    versions,
)
from catalog.publishing.card import card
from catalog.publishing.croissant import croissant
from catalog.publishing.files import File
from catalog.publishing.losses import Comparison, kind
from catalog.publishing.manifest import Changes, Manifest
from catalog.publishing.paths import CARD, CROISSANT, MANIFEST, POINTER, version_folder
from catalog.publishing.storage import (
    Pointer,
    Stored,
    delete_file,
    files_in,
    mark_of,
    read_pointer,
    size_of,
    store_bytes,
    write_pointer,
)
from catalog.publishing.versions import Version

log = logging.getLogger(__name__)
_POINTER_GONE = kind("pointer")
_DOCUMENTS = {CROISSANT: croissant, CARD: card}


def newest(root: UPath) -> Manifest | None:
    """Return the manifest of the version that the pointer names; None if nothing is published.

    Raises:
        Fatal: The pointer names a version whose manifest is missing or is not the one that was published.
    """
    pointer = read_pointer(root)
    if pointer is None:
        return None
    published = manifest.read(root, pointer.version, pointer.manifest_sha256)
    if published is None or published.token != pointer.token:
        raise Fatal(
            f"{root / POINTER} names version {pointer.version}, whose manifest is missing or is another one. "
            "Restore the folder. If you cannot, delete the pointer, and trigger a new run: it says "
            "what it can compare its version with, and how to accept that."
        )
    return published


def _before(connection: Connection, root: UPath) -> Manifest | None:
    """Return the manifest of the version that a new one is compared with; None if there is none.

    Without a pointer, that is the last one that this database has published there, as the database has
    noted it.

    Raises:
        Fatal: See `newest`.
    """
    if before := newest(root):
        return before
    last = versions.last_published(connection, root)
    return _noted(connection, last) if last else None


def _noted(connection: Connection, version: Version, published_on: str = "") -> Manifest | None:
    """Return the manifest of a published version as this database has noted it; None if it has not."""
    try:
        files = part_states.files_of(connection, version)
    except Retry as error:
        log.warning("the manifest of version %d cannot be made again: %s", version.number, error)
        return None
    compared = msgspec.convert(version.changes, Changes) if version.changes else None
    return _described(connection, version, files, compared, published_on)[0]


def compare_with_newest(connection: Connection, root: UPath, version: Version) -> Changes | None:
    """Write the change set of a version against the one before; return None if there is none.

    Raises:
        Retry: The version is not complete, or has another state by now. Parts with a file that is
            missing or altered count as not written from then on.
        Fatal: See `newest` and `changes.compare`.
    """
    if version.stage == "published":
        return msgspec.convert(version.changes, Changes) if version.changes else None
    with new_version.at_work(connection, version.number):
        run_version.working(connection, root, version.run_id)  # its folder has not been deleted meanwhile
        files = part_states.files_of(connection, version)
        folder = root / version_folder(version.number)
        if wrong := _wrong_files(folder, files, None):
            raise _forgotten(connection, root, version, wrong)
        before = _before(connection, root)
        if before is None:
            if altered := changes.damaged_files(folder, files):  # a comparison reads all files as well
                raise _forgotten(connection, root, version, list(altered))
            versions.note_changes(connection, version, None)  # there may have been one to compare with
            return None
        try:
            compared = changes.compare(root, before, version.number, files)
        except changes.Damaged as error:
            raise _forgotten(connection, root, version, list(error.files)) from None
        versions.note_changes(connection, version, msgspec.to_builtins(compared))
    return compared


def publish(
    connection: Connection,
    root: UPath,
    version: Version,
    *,
    judge: Judge = refuse_all,
    successor: bool = False,
) -> dict[str, Any]:
    """Make a complete version the newest one.

    Everything that the version consists of is stored before; the pointer is written last.

    Args:
        connection: Connection to the catalog, in autocommit.
        root: The folder of all versions.
        version: The version, as `working` returned it.
        judge: Says whether it is accepted that far more records than usual are gone, or the pointer is; it
            notes what it refuses, so it needs a connection of its own.
        successor: Publish it although another catalog has published the version before.

    Returns:
        Numbers for the report, and `newest`, the number of the newest version. The numbers are the same if
        the version is published already.

    Raises:
        Fatal: There are no records, or far fewer than before, or the versions before are missing, and that is
            not accepted; or these are another catalog's; or files of the version, which is published already,
            are missing.
        Retry: Parts or files are missing, or are of different states. Parts with such a file count as not
            written from then on.
    """
    with connection.transaction():
        # From here to the end, nobody else writes this version or abandons it.
        held = run_version.held(connection, root, version)
        if held.stage == "published":
            _require_published(connection, root, held)
            if held.summary is None:
                held = versions.note_published(connection, held.number, _stored_summary(root, held))
            pointer = read_pointer(root)
            return {**(held.summary or {}), "newest": pointer.version if pointer else held.number}
        files = part_states.files_of(connection, held)
        compared = msgspec.convert(held.changes, Changes) if held.changes else None
        wrong = _wrong_files(root / version_folder(held.number), files, compared)
        if not wrong:
            ownership.require_own(connection, root, successor=successor)
            return _write_release(connection, root, held, files, compared, judge)
    raise _forgotten(connection, root, version, wrong)


def _forgotten(connection: Connection, root: UPath, version: Version, wrong: list[str]) -> Retry:
    """Let parts with one of these files count as not written; return the error that says so."""
    with connection.transaction():
        held = run_version.held(connection, root, version)
        if held.stage == "writing":
            part_states.forget(connection, held, wrong)
    return Retry(
        f"files of {root / version_folder(version.number)} are missing or not as written: "
        f"{join_first(wrong)}; clear write_parts with its downstream tasks. Only what is missing is written."
    )


def _write_release(
    connection: Connection,
    root: UPath,
    version: Version,
    files: list[File],
    compared: Changes | None,
    judge: Judge,
) -> dict[str, Any]:
    """Write what describes a version, then the pointer; the version's row is locked."""
    before = _before(connection, root)
    wanted = (version.snapshot_number, before.version) if before else None
    if (compared and (compared.snapshot_number, compared.against)) != wanted:
        raise Retry("the change set is of another state or version; clear compare_versions, then this task.")
    now = utc(database_time(connection)).isoformat(timespec="seconds")
    made, contents = _described(connection, version, files, compared, now)
    if not sum(made.rows.values()):
        raise Fatal(
            f"the catalog has no records to publish: is {CATALOG_DB} the right database? The "
            "version before is still the newest."
        )
    found = Comparison.of(connection, before, made, version).found() if before else {}
    if read_pointer(root) is None:
        _refuse_without_pointer(connection, root, found, judge)
    else:
        _refuse_losses(found, judge)
    folder = root / version_folder(version.number)
    _delete_unlisted(folder, made)
    checksum = _store_documents(folder, contents)
    summary = _summary(made, before)
    pointer = Pointer(version.number, folder.name, version.token, checksum, now, made.format)
    newer = read_pointer(root)
    if newer and newer.version >= version.number:
        raise Fatal(f"{root} has version {newer.version} by now; {versions.AGAIN}")
    write_pointer(root, pointer)
    versions.note_published(connection, version.number, summary)
    return {**summary, "newest": version.number}


def _described(
    connection: Connection, version: Version, files: list[File], compared: Changes | None, published_on: str
) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest of a version, and the contents of the files that describe it, the manifest last."""
    read = part_counts.rows_read(connection, version.token)
    with_term = part_counts.with_term(connection, version.token)
    made = manifest.make(version, files, compared, published_on, read, with_term)
    contents = {name: describe(made) for name, describe in _DOCUMENTS.items()}
    stored = [Stored(name, len(data), sha256(data).hexdigest()) for name, data in contents.items()]
    made = msgspec.structs.replace(made, documents=stored)
    return made, contents | {MANIFEST: manifest.encode(made)}


def _store_documents(folder: UPath, contents: Mapping[str, bytes]) -> str:
    """Store the files that describe a version, the manifest last; return its checksum."""
    stored = {name: store_bytes(data, folder, name) for name, data in contents.items()}
    return stored[MANIFEST].sha256


def _refuse_losses(found: Found, judge: Judge) -> None:
    """Raise Fatal if a version lacks too much, and that is not accepted."""
    judged = judge({_POINTER_GONE: [], **found})
    if judged.refused:
        suspicious = f"the new version is suspicious: {judged.problems}."
        raise Fatal(judged.message(suspicious, "The version before is still the newest."))


def _refuse_without_pointer(connection: Connection, root: UPath, found: Found, judge: Judge) -> None:
    """Raise Fatal if versions were published in a folder that has no pointer: it may not be mounted.

    Args:
        connection: Connection to the catalog.
        root: The folder of all versions.
        found: What the new version lacks, by kind; empty if there is none to compare it with.
        judge: See `publish`.
    """
    gone = []
    if last := versions.last_published(connection, root):
        text = f"{root / POINTER} is gone, although version {last.number} was published there"
        if not found:
            text += ", so this version was compared with none"
        gone.append(Finding(f"{root}, version {last.number}", 0, 0, text, may_be_away=True))
    judged = judge({_POINTER_GONE: gone, **found})
    if judged.refused:
        raise Fatal(
            judged.message(
                f"{judged.problems}. Restore the storage, and clear compare_versions with its downstream "
                "tasks, unless you have deleted the pointer."
            )
        )


def _wrong_files(folder: UPath, files: list[File], compared: Changes | None) -> list[str]:
    """Return the files that are missing, or have another size than the one that was written."""
    wanted = {file.path: file.bytes for file in files}
    wanted |= {file.path: file.bytes for file in compared.files.values()} if compared else {}
    return [name for name, size in wanted.items() if size_of(folder / name) != size]


def _require_published(connection: Connection, root: UPath, version: Version) -> None:
    """Check the files of a published version; write again what describes the newest one.

    Raises:
        Fatal: Files are missing, or have another size.
    """
    wrong = _wrong_published(root, version)
    if wrong and {MANIFEST, *_DOCUMENTS}.issuperset(wrong) and _describe_again(connection, root, version):
        wrong = _wrong_published(root, version)
    if MANIFEST in wrong:
        newest(root)  # if it is the newest one, the remedy is another
    if wrong:
        folder = root / version_folder(version.number)
        raise Fatal(
            f"version {version.number} was published, but files of {folder} are "
            f"missing or not as published: {join_first(wrong)}. Restore them from a backup, or trigger a new "
            "run, which publishes another version."
        )


def _wrong_published(root: UPath, version: Version) -> list[str]:
    folder, made = root / version_folder(version.number), manifest.read(root, version.number)
    if made is None or made.token != version.token:
        mark = mark_of(root, version.number)
        if mark and mark.token == version.token:  # of another release, which cannot be read
            return []
        return [MANIFEST]
    return [file.path for file in made.stored if size_of(folder / file.path) != file.bytes]


def _describe_again(connection: Connection, root: UPath, version: Version) -> bool:
    """Store again what describes the newest version, if it is what was published; return whether it is."""
    pointer = read_pointer(root)
    if pointer is None or pointer.token != version.token:
        return False
    try:
        files = part_states.files_of(connection, version)
    except Retry as error:
        log.warning("the manifest cannot be written again: %s", error)
        return False
    compared = msgspec.convert(version.changes, Changes) if version.changes else None
    _, contents = _described(connection, version, files, compared, pointer.published_on)
    if sha256(contents[MANIFEST]).hexdigest() != pointer.manifest_sha256:
        log.warning("the manifest cannot be written again: another release has published the version")
        return False
    _store_documents(root / version_folder(version.number), contents)
    return True


def _delete_unlisted(folder: UPath, made: Manifest) -> None:
    """Delete what killed attempts, and attempts whose state was lost, have left behind."""
    listed = {MANIFEST, *(file.path for file in made.stored)}
    for name in list(files_in(folder)):
        if name not in listed:
            log.info("deleting %s, which an attempt has left", name)
            delete_file(folder, name)


def _stored_summary(root: UPath, version: Version) -> dict[str, Any]:
    """Return the numbers of a published version that only the storage knows: after a kill, or a restore."""
    made = manifest.read(root, version.number)
    if made is None or made.token != version.token:
        raise Fatal(
            f"version {version.number} is published, but its manifest in {root} is missing or another."
        )
    return _summary(made, manifest.read(root, made.changes.against) if made.changes else None)


def _summary(made: Manifest, before: Manifest | None) -> dict[str, Any]:
    found = made.changes
    return {
        "version": made.version,
        "rows": made.rows,
        "before": before.rows if before else {},
        "files": len(made.files),
        "bytes": made.bytes,
        "providers": len(made.providers),
        "changes": {kind: getattr(found, kind) for kind in ("added", "changed", "removed")} if found else {},
        "lost": found.lost if found else "",
    }
