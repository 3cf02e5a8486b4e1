"""Whether this database has published what is in a folder, or another catalog has."""

from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.publishing.paths import POINTER
from catalog.publishing.storage import Mark, mark_of, read_pointer, versions_in


def is_own(connection: Connection, token: str) -> bool:
    """Return whether this database has published the version with a token.

    The parts of a version name the transactions that have recorded them. A dump that is restored elsewhere
    has the rows, but not the transactions. A copy of the server's files has both.
    """
    query = (
        "select exists (select from dataset_version v join dataset_part p on p.version = v.number"
        " where v.token::text = %s and p.transaction = p.xmin::text::bigint)"
    )
    return bool(value(connection, query, [token]))


def _newest_without_pointer(root: UPath) -> Mark | None:
    marks = (mark_of(root, number) for number in reversed(versions_in(root)))
    return next(filter(None, marks), None)


def require_own(connection: Connection, root: UPath, *, successor: bool) -> None:
    """Refuse a folder in which another catalog publishes: readers would get versions of both in turn.

    Args:
        connection: Connection to the catalog.
        root: The folder of all versions.
        successor: This catalog replaces the one that has published the newest version.

    Raises:
        Fatal: This database has not published the version that the pointer names; or, without a pointer, the
            newest one that is there.
    """
    pointer = read_pointer(root)
    newest = pointer or _newest_without_pointer(root)
    if newest is None or successor or is_own(connection, newest.token):
        return
    named = "names version" if pointer else "is gone, and the newest version there is version"
    raise Fatal(
        f"{root / POINTER} {named} {newest.version}, which this catalog database has not published: "
        "another catalog publishes to this folder, or the database was restored from a dump. Nothing was "
        "published. Give the Variable DATASET_STORAGE a folder of its own. If this catalog replaces the "
        'other one, trigger a run with the conf {"successor": true}.'
    )
