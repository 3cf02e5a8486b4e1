"""Images without `license_url` in their meta_data: which licenses they have, and the update that adds it."""

from typing import LiteralString

import msgspec
from psycopg import sql

from catalog.core.licenses import license_from_pair
from catalog.core.session import Connection
from catalog.database.names import query_id
from catalog.database.statements import Update, parse_update

MISSING: LiteralString = "meta_data ->> 'license_url' IS NULL"
# Nothing of these is lost when they become an object; a text, say, or an array that holds one, is left as it is.
_FITTING: LiteralString = (
    'NOT coalesce(jsonb_path_exists(meta_data, \'$[*].type() ? (@ != "object" && @ != "null")\'), false)'
)


class Group(msgspec.Struct, frozen=True):
    """Images of one license that lack its URL.

    license: in small letters, though some rows have capitals; left: those of `rows` whose meta_data would be
    lost in an object.
    """

    license: str
    version: str | None
    rows: int
    left: int = 0

    @property
    def url(self) -> str | None:
        found = license_from_pair(self.license, self.version)
        return found.url if found else None

    @property
    def query_id(self) -> str:
        return query_id("license_url", self.license, self.version or "none")

    def update(self) -> Update:
        """Adds the URL; whatever else meta_data holds stays, and a NULL, or a null under that key, gives way.

        An array of objects becomes one object. A meta_data that is a text, a number, or an array that holds
        one is not touched.

        Raises AssertionError for a license that has no URL, and Refused never.
        """
        assert self.url, self
        version = (
            "license_version IS NULL"
            if self.version is None
            else f"license_version = {sql.quote(self.version)}"
        )
        added = f"coalesce(stored_object(meta_data), '{{}}') || jsonb_build_object('license_url', {sql.quote(self.url)})"
        return parse_update(
            "image",
            f"SET updated_on = now(), license = lower(license), meta_data = {added}",
            f"WHERE lower(license) = {sql.quote(self.license)} AND {version} AND {MISSING} AND {_FITTING}",
        )


def groups(connection: Connection) -> list[Group]:
    """All licenses with images that lack the URL, the most frequent first."""
    query = sql.SQL("""
        select lower(license), license_version, count(*), count(*) filter (where not {fitting}) from image where {missing}
         group by 1, 2 order by 3 desc, 1, 2
    """).format(fitting=sql.SQL(_FITTING), missing=sql.SQL(MISSING))
    return [Group(*row) for row in connection.execute(query).fetchall()]
