"""Parts of a version: what a task reads in one statement, and writes or repeats as a whole.

A table is read by ranges of pages, so that each page is read once, in order. A provider with few rows would
get a tiny file from each range; such a provider is a part of its own, which an index finds.
"""

from collections.abc import Sequence

import msgspec
from psycopg import sql

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.database.pages import pages_of, reads_ranges

PAGES = 131_072  # heap pages of a range, 1 GB
MIN_ROWS = 10_000  # rows that a provider should have in each range on average, so that it is read by ranges


class Part(msgspec.Struct, frozen=True):
    """A part of a version.

    Attributes:
        number: Number of the part in its version.
        media_type: The table.
        kind: A provider, or a range of the pages of all other providers.
        provider: Provider of a part that is one; None for records without one.
        lower: First page of a range.
        upper: Page at which a range ends; None for the last range, because the table grows.
    """

    number: int
    media_type: MediaType
    kind: str
    provider: str | None = None
    lower: int | None = None
    upper: int | None = None

    def condition(self, parts: Sequence["Part"]) -> sql.Composable:
        """Return the condition of the rows, removed ones left out.

        Args:
            parts: All parts of the version. Whatever providers appear after they were planned, each row
                meets the condition of one part.
        """
        if self.kind == "provider":
            if self.provider is None:
                return sql.SQL("not removed_from_source and provider is null")
            return sql.SQL("not removed_from_source and provider = {}").format(sql.Literal(self.provider))
        tests: list[sql.Composable] = [sql.SQL("not removed_from_source")]
        of_table = [part for part in parts if part.media_type == self.media_type and part.kind == "provider"]
        names = [part.provider for part in of_table if part.provider is not None]
        if names:
            tests.append(sql.SQL("(provider is null or provider <> all({}))").format(sql.Literal(names)))
        if any(part.provider is None for part in of_table):
            tests.append(sql.SQL("provider is not null"))
        if self.lower:
            tests.append(sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({self.lower},0)")))
        if self.upper is not None:
            tests.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({self.upper},0)")))
        return sql.SQL(" and ").join(tests)


def plan(
    connection: Connection,
    media_types: Sequence[MediaType] = MEDIA_TYPES,
    pages: int = PAGES,
    least: int = MIN_ROWS,
) -> list[Part]:
    """Split the tables into parts.

    Args:
        connection: Connection to the catalog.
        media_types: The tables.
        pages: Heap pages of a range.
        least: Mean number of rows in a range from which a provider is read by ranges.
    """
    parts: list[Part] = []
    for media_type in media_types:
        by_pages = reads_ranges(connection)
        bounds = list(range(pages, pages_of(connection, media_type), pages)) if by_pages else []
        few = least * (len(bounds) + 1)
        rows = connection.execute(
            sql.SQL("select provider, count(*) from {} group by provider order by 2 desc").format(
                sql.Identifier("public", media_type)
            )
        ).fetchall()
        for lower, upper in zip([0, *bounds], [*bounds, None], strict=True):
            parts.append(Part(len(parts), media_type, "pages", None, lower, upper))
        for provider, number in rows:
            if number < few and (bounds or number):
                parts.append(Part(len(parts), media_type, "provider", provider))
    return parts
