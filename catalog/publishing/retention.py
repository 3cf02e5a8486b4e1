"""Old versions are deleted: the newest ones stay, and whatever is not certainly ours."""

import logging

from psycopg import sql
from upath import UPath

from catalog.core.session import Connection
from catalog.publishing import ownership, versions
from catalog.publishing.release import newest
from catalog.publishing.storage import delete_version, mark_of, versions_in

log = logging.getLogger(__name__)


def delete_old(connection: Connection, root: UPath, keep: int) -> list[int]:
    """Delete all but the newest versions, and those that were abandoned.

    Only folders are deleted that are ours: named like a version, and recorded for this root or with the
    manifest of a version that this database knows. What the pointer names stays, and whatever is newer,
    unless it is recorded as abandoned. Nothing is deleted if another catalog has published the newest one.

    Args:
        connection: Connection to the catalog, in autocommit.
        root: The folder of all versions.
        keep: Number of published versions to keep.

    Returns:
        The numbers of the versions that were deleted.

    Raises:
        Fatal: See `newest`: without the newest version, older ones are what readers have left.
    """
    pointer = newest(root)
    if pointer is None:
        return []
    if not ownership.is_own(connection, pointer.token):
        log.warning("nothing is deleted: another catalog has published version %s", pointer.version)
        return []
    query = sql.SQL("select number, stage, token::text, {} from dataset_version")
    rows = connection.execute(query.format(versions.written_to(root))).fetchall()
    recorded = {number: (stage, token) for number, stage, token, here in rows if here}
    tokens = {token for _, _, token, _ in rows}  # also of versions that were moved here from another folder
    published, abandoned = [pointer.version], []
    for number in versions_in(root):
        stage, token = recorded.get(number, (None, None))
        mark = mark_of(root, number)
        if mark and mark.token not in tokens:
            log.warning("version %s stays, because this catalog database does not know it", number)
        elif stage in ("abandoned", "deleted") and (mark is None or mark.token == token):
            abandoned.append(number)
        elif number < pointer.version and (stage == "published" or mark):
            published.append(number)
    old = sorted(published, reverse=True)[keep:]
    deleted = sorted({*old, *abandoned} - {pointer.version})
    for number in deleted:
        log.info("deleting version %s", number)
        delete_version(root, number)
        update = sql.SQL("update dataset_version set stage = 'deleted' where number = {} and {}")
        connection.execute(update.format(number, versions.written_to(root)))
    return deleted
