"""Preview of a changed tag policy: its effect on a sample of documents, before an index is rebuilt."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.tag_policy import TagFilter, TagPolicy


class PolicyDiff(msgspec.Struct):
    """Effect of a changed policy.

    Attributes:
        rows: Records compared.
        changed: Records whose document would change.
        before: Number of tags by rule, under the old policy.
        after: Number of tags by rule, under the new policy.
        gained: Number of documents by tag that they would gain.
        lost: Number of documents by tag that they would lose.
    """

    rows: int = 0
    changed: int = 0
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    gained: Counter[str] = msgspec.field(default_factory=Counter)
    lost: Counter[str] = msgspec.field(default_factory=Counter)


def compare(tag_lists: Iterable[Any], old: TagPolicy, new: TagPolicy) -> PolicyDiff:
    """Compare two policies.

    Args:
        tag_lists: The tags of each record, as stored in the database.
        old: Policy of the index.
        new: Policy to preview.
    """
    before, after, diff = TagFilter(old), TagFilter(new), PolicyDiff()
    for tags in tag_lists:
        diff.rows += 1
        was, will = Counter(t["name"] for t in before(tags)[0]), Counter(t["name"] for t in after(tags)[0])
        if was != will:
            diff.changed += 1
            diff.gained.update(will - was)
            diff.lost.update(was - will)
    diff.before, diff.after = dict(before.counts), dict(after.counts)
    return diff


def sample(api: Connection, media_type: MediaType, rows: int) -> list[Any]:
    """Return the tag lists of about `rows` records sampled from the whole table, or of all of them."""
    table = sql.Identifier("public", media_type)
    # Before the first ANALYZE, a row is taken for 2 kB, which is more than it has: too many rows are read.
    estimate = api.execute(
        "select greatest(reltuples, pg_relation_size(oid) / 2048, 1)"
        "  from pg_class where oid = to_regclass(%s)",
        [f"public.{media_type}"],
    ).fetchone()
    share = min(100.0, 150.0 * rows / (estimate[0] if estimate else 1))
    # The sample is in the order of the table, whose beginning would be all that is left of it.
    query = sql.SQL("select tags from {} tablesample system ({}) order by random() limit {}").format(
        table, sql.Literal(share), sql.Literal(rows)
    )
    return [tags for (tags,) in api.execute(query)]


def explain(
    api: Connection, media_type: MediaType, key: str, policy: TagPolicy
) -> list[tuple[Any, str | None]]:
    """Return each tag of a record with the rule that drops it, or None.

    Args:
        api: Connection to the API database.
        media_type: Media type of the record.
        key: Identifier or row id of the record.
        policy: The tag policy.

    Raises:
        Fatal: There is no such record.
    """
    column = "id" if key.isdigit() else "identifier::text"
    query = sql.SQL("select tags from {} where {} = %s").format(
        sql.Identifier("public", media_type), sql.SQL(column)
    )
    row = api.execute(query, [int(key) if key.isdigit() else key.lower()]).fetchone()
    if row is None:
        raise Fatal(f"the API database has no {media_type} {key}.")
    tag_filter = TagFilter(policy)
    return [(tag, tag_filter.rule(tag)) for tag in row[0] or []]
