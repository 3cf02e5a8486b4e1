"""Report of a data refresh.

Its numbers are XComs of other tasks. A task of an earlier release may have written them, so every field has a
default.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from catalog.data_refresh.tables.apply import Applied
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.shrinkage import NO_SOURCE

if TYPE_CHECKING:
    from catalog.data_refresh.search.indexing import Indexed


class Report(msgspec.Struct, frozen=True):
    """Report of a refresh.

    Attributes:
        title: What was done.
        summary: Numbers of documents before and after.
        lines: Details.
    """

    title: str
    summary: str
    lines: list[str]


class Checked(msgspec.Struct, frozen=True):
    """Result of the check of an index.

    Attributes:
        documents: Number of documents.
        removed: Rows without a document because they are removed from their source.
        rejected: Rows without a document, by reason.
        tags: Number of tags by rule that dropped them; `kept` for the others.
    """

    documents: int = 0
    removed: int = 0
    rejected: dict[str, int] = {}
    tags: dict[str, int] = {}

    @classmethod
    def of(cls, documents: int, indexed: Sequence["Indexed"]) -> Self:
        """Return the result of an index.

        Args:
            documents: Number of documents.
            indexed: Results of its ranges.
        """
        return cls(
            documents,
            removed=sum(result.removed for result in indexed),
            rejected=dict(sum((Counter(result.rejected) for result in indexed), Counter[str]())),
            tags=dict(sum((Counter(result.tags) for result in indexed), Counter[str]())),
        )


class FilteredCounts(msgspec.Struct, frozen=True):
    """Result of a filtered index.

    Attributes:
        documents: Number of documents.
        hidden: Documents of the full index that it omits.
    """

    documents: int = 0
    hidden: int = 0


def record_differences(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Return the total before and after, then one line per source whose number changed."""
    total = sum(before.values()), sum(after.values())
    lines = [f"{total[0]:,} → {total[1]:,} documents ({_change(*total)})"]
    for source in sorted({*before, *after}):
        old, new = before.get(source, 0), after.get(source, 0)
        if old != new:
            lines.append(f"  - {source or NO_SOURCE}: {old:,} → {new:,} ({_change(old, new)})")
    if len(lines) > 1:
        lines.append("  _Sources that did not change are omitted._")
    return lines


def _change(old: int, new: int) -> str:
    """Return the signed difference, absolute and as a share."""
    share = f", {(new - old) / old:+.2%}" if old else ""
    return f"{new - old:+,}{share}"


def copy_lines(copied: Iterable[TableProgress], orphans: Mapping[str, int]) -> list[str]:
    """Return a line for each copied table, and one for each foreign key whose orphans were deleted."""
    lines = []
    for one in copied:
        left_out = [f"{one.deleted:,} deleted by moderators"] if one.deleted else []
        left_out += [f"{number:,} rejected, {reason}" for reason, number in sorted(one.rejected.items())]
        lines.append(
            f"`{one.table}`: {one.rows:,} rows, {one.new:,} of them new"
            + "".join(f"; {text}" for text in left_out)
        )
    return lines + [
        f"{number:,} orphans of {key} deleted" for key, number in sorted(orphans.items()) if number
    ]


def document_lines(checked: Checked) -> list[str]:
    """Return why there are fewer documents than rows, if so."""
    without = [(checked.removed, "removed from their source")] if checked.removed else []
    without += [(number, f"rejected, {reason}") for reason, number in sorted(checked.rejected.items())]
    if not without:
        return []
    return ["Rows without a document: " + "; ".join(f"{number:,} {reason}" for number, reason in without)]


def incremental_report(
    media_type: str,
    before: Mapping[str, int],
    after: Mapping[str, int],
    *,
    applied: Mapping[str, Applied],
    updated: Mapping[str, Any],
    digest: str,
) -> Report:
    """Return the report of an incremental refresh.

    Args:
        media_type: Media type of the refresh.
        before: Number of documents by source, when it began.
        after: Number of live documents by source.
        applied: Numbers of changed rows by table; empty if they are not known, because the task that changed
            the rows did not return them.
        updated: Numbers of changed documents.
        digest: Digest of the tag policy.
    """
    first, *lines = record_differences(before, after)
    if not applied:
        lines.append("Changed rows: not known, because promote_tables ended before it could report them")
    for table, one in applied.items():
        lines.append(
            f"`{table}`: {one.inserted:,} rows inserted, {one.updated:,} updated, {one.deleted:,} deleted"
        )
        lines += [f"{number:,} orphans of {key} deleted" for key, number in sorted(one.orphans.items())]
    without = [(updated.get("removed", 0), "removed from their source")]
    without += [(number, f"rejected, {reason}") for reason, number in updated.get("rejected", {}).items()]
    lines.append(
        f"{updated.get('changed', 0):,} documents written"
        + "".join(f"; {number:,} {reason}" for number, reason in without if number)
    )
    lines.append(f"Filtered index: {updated.get('filtered', 0):,} documents (policy {digest})")
    return Report(f"{media_type.capitalize()} data refresh complete, incremental", first, lines)


def tag_line(counts: Mapping[str, int], digest: str) -> str:
    """Return the numbers of tags kept and dropped, by rule."""
    dropped = ", ".join(
        f"{number:,} {rule}" for rule, number in sorted(counts.items()) if rule != "kept" and number
    )
    return f"Tags: {counts.get('kept', 0):,} kept, {dropped or 'none'} dropped (policy {digest})"


def refresh_report(
    media_type: str,
    before: Mapping[str, int],
    after: Mapping[str, int],
    *,
    copied: Sequence[TableProgress],
    orphans: Mapping[str, int],
    checked: Checked,
    filtered: FilteredCounts,
    digest: str,
    reason: str = "",
) -> Report:
    """Return the report.

    Args:
        media_type: Media type of the refresh.
        before: Number of documents by source, when it began.
        after: Number of live documents by source.
        copied: Result of each copied table; empty if only the index was rebuilt.
        orphans: By foreign key, the number of rows deleted because they referred to missing media.
        checked: Result of the check of the index.
        filtered: Result of the filtered index.
        digest: Digest of the tag policy.
        reason: Why the refresh is a full one although it might have been incremental.
    """
    what = "data refresh complete" if copied else "index rebuilt, no rows copied"
    first, *others = record_differences(before, after)
    lines = [*others, *copy_lines(copied, orphans), *document_lines(checked)]
    if reason:
        lines.append(f"A full refresh, because {reason}.")
    lines += [
        f"Filtered index: {filtered.documents:,} documents, {filtered.hidden:,} hidden",
        tag_line(checked.tags, digest),
    ]
    return Report(f"{media_type.capitalize()} {what}", first, lines)
