"""How many rows the parts of a version have read, and in how many there is a sensitive term."""

from collections.abc import Mapping

import msgspec
from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.publishing import versions
from catalog.publishing.versions import Version


def rows_read(connection: Connection, token: str) -> dict[MediaType, int]:
    """Return how many rows the parts of a version have read, with those that are left out, by media type.

    Args:
        connection: Connection to the catalog.
        token: Token of the version.

    Returns:
        The numbers; without any if this database does not know the version.
    """
    return _sums(connection, token, sql.Identifier("rows_read"))


def with_term(connection: Connection, token: str) -> dict[MediaType, int]:
    """Return how many rows of a version contain a sensitive term; arguments as of `rows_read`.

    Returns:
        The numbers; without media types of which an earlier release has written a part.
    """
    return _sums(connection, token, sql.Identifier("with_term"))


class Terms(msgspec.Struct, frozen=True):
    """What a list of sensitive terms has found in a version.

    Attributes:
        version: Number of the version.
        found: Media type → number of records that contain a term.
        digest: Digest of the list; None if it is not known.
    """

    version: int
    found: Mapping[str, int]
    digest: str | None


def counted_terms(connection: Connection, version: Version) -> Terms | None:
    """Return what terms have found in the newest version before another one that has looked for them.

    Args:
        connection: Connection to the catalog.
        version: The other version.

    Returns:
        The numbers; None if this database knows no such version of the folder.
    """
    row = connection.execute(
        sql.SQL("""
            select number, token::text, settings ->> %s from dataset_version v
             where published_on is not null and number < %s and rtrim(root, '/') = %s
               and exists (select from dataset_part where version = v.number)
               and not exists (select from dataset_part where version = v.number and with_term is null)
             order by number desc limit 1
        """),
        [versions.TERMS, version.number, version.root.rstrip("/")],
    ).fetchone()
    if row is None:
        return None
    number, token, digest = row
    return Terms(number, {str(m): found for m, found in with_term(connection, token).items()}, digest)


def _sums(connection: Connection, token: str, column: sql.Identifier) -> dict[MediaType, int]:
    """Return the sum of a column over all parts of a version, by media type, unless one part has none."""
    query = sql.SQL("""
        select p.media_type, sum(p.{column})::bigint
          from dataset_part p join dataset_version v on v.number = p.version
         where v.token::text = %s group by 1 having bool_and(p.{column} is not null)
    """).format(column=column)
    return dict(connection.execute(query, [token]).fetchall())
