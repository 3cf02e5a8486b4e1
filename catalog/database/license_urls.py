"""Images without `license_url` in their meta_data: which licenses they have, and the update that adds it."""

import re
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from catalog.database.statements import Update, parse_update
from catalog.ingestion.licenses import license_from_pair

MISSING = "meta_data ->> 'license_url' IS NULL"


class Group(msgspec.Struct, frozen=True):
    """Images of one license that lack its URL. license: in small letters, though some rows have capitals."""

    license: str
    version: str | None
    rows: int

    @property
    def url(self) -> str | None:
        found = license_from_pair(self.license, self.version)
        return found.url if found else None

    @property
    def query_id(self) -> str:
        return "license_url_" + re.sub("[^a-z0-9]+", "_", f"{self.license}_{self.version or 'none'}")[
            :28
        ].strip("_")

    def update(self) -> Update:
        """Adds the URL; whatever else meta_data holds stays, and a NULL, or a null under that key, gives way.

        Raises AssertionError for a license that has no URL, and Refused never.
        """
        assert self.url, self
        version = (
            "license_version IS NULL"
            if self.version is None
            else f"license_version = {sql.quote(self.version)}"
        )
        old = "CASE WHEN jsonb_typeof(meta_data) = 'object' THEN meta_data ELSE '{}'::jsonb END"
        added = f"{old} || jsonb_build_object('license_url', {sql.quote(self.url)})"
        return parse_update(
            "image",
            f"SET updated_on = now(), license = lower(license), meta_data = {added}",
            f"WHERE lower(license) = {sql.quote(self.license)} AND {version} AND {MISSING}",
        )


def groups(connection: psycopg.Connection[Any]) -> list[Group]:
    """All licenses with images that lack the URL, the most frequent first."""
    found = connection.execute("""
        select lower(license), license_version, count(*) from image where meta_data ->> 'license_url' is null
         group by 1, 2 order by 3 desc, 1, 2
    """)
    return [Group(*row) for row in found.fetchall()]
