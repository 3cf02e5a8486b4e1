"""Images without `license_url` in their meta_data: their licenses, and the updates that add the URL."""

from typing import LiteralString

import msgspec
from psycopg import sql

from catalog.core.licenses import license_from_pair
from catalog.core.session import Connection
from catalog.database.names import query_id
from catalog.database.statements import Update, parse_update

# An adopted catalog may have anything under the key; only text that is not empty can be a URL.
MISSING: LiteralString = (
    "coalesce(jsonb_typeof(meta_data -> 'license_url') <> 'string' OR meta_data ->> 'license_url' = '', true)"
)
# True for values that become an object without loss: not for a string or number, or an array that holds one.
_CONVERTIBLE: LiteralString = (
    'NOT coalesce(jsonb_path_exists(meta_data, \'$[*].type() ? (@ != "object" && @ != "null")\'), false)'
)


class Group(msgspec.Struct, frozen=True):
    """Images of one license that lack its URL.

    Attributes:
        license: In lower case, even if rows hold upper-case letters.
        version: Version of the license; None if the rows have none.
        rows: Number of images.
        left: Number of these images that cannot be updated, because their meta_data would be lost.
    """

    license: str
    version: str | None
    rows: int
    left: int = 0

    @property
    def url(self) -> str | None:
        known = license_from_pair(self.license, self.version)
        return known.url if known else None

    @property
    def query_id(self) -> str:
        return query_id("license_url", self.license, self.version or "none")

    def update(self) -> Update:
        """Return the update that adds the URL; the license must have one.

        Other values of meta_data stay. A NULL, or what is no text under the key, is replaced. An array of
        objects becomes one object. Rows whose meta_data is a string, a number, or an array that holds one
        stay unchanged.
        """
        assert self.url, self
        version = (
            "license_version IS NULL"
            if self.version is None
            else f"license_version = {sql.quote(self.version)}"
        )
        added = (
            "coalesce(stored_object(meta_data), '{}')"
            f" || jsonb_build_object('license_url', {sql.quote(self.url)})"
        )
        return parse_update(
            "image",
            f"SET updated_on = now(), license = lower(license), meta_data = {added}",
            f"WHERE lower(license) = {sql.quote(self.license)} AND {version}"
            f" AND {MISSING} AND {_CONVERTIBLE}",
        )


def groups(connection: Connection) -> list[Group]:
    """Return the licenses with images that lack the URL, the most frequent first."""
    query = sql.SQL("""
        select lower(license), license_version, count(*), count(*) filter (where not {convertible})
          from image where {missing}
         group by 1, 2 order by 3 desc, 1, 2
    """).format(convertible=sql.SQL(_CONVERTIBLE), missing=sql.SQL(MISSING))
    return [Group(*row) for row in connection.execute(query).fetchall()]
