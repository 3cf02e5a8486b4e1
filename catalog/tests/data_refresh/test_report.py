"""The report of a refresh."""

import msgspec

from catalog.data_refresh.columns import Copied
from catalog.data_refresh.report import Checked, FilteredCounts, refresh_report


def report(removed, rejected):
    return refresh_report(
        "image",
        {"met": 10},
        {"met": 8},
        copied=[Copied("image", rows=12, new=2)],
        orphans={},
        checked=Checked(8, removed, rejected, {"kept": 1}),
        filtered=FilteredCounts(8, 0),
        digest="d",
    )


def test_rows_without_a_document_are_explained():
    text = report(3, {"the engine refuses it": 1})
    assert "`image`: 12 rows" in text
    assert "Rows without a document: 3 removed from their source; 1 rejected, the engine refuses it" in text


def test_nothing_is_reported_when_each_row_has_a_document():
    assert "without a document" not in report(0, {})


def test_counts_of_an_earlier_release_are_accepted():
    """A run that an upgrade interrupts reports the counts of tasks of the earlier release."""
    checked = msgspec.convert({"documents": 8, "rejected": {}, "tags": {"kept": 1}}, Checked)
    copied = msgspec.convert([{"table": "image", "rows": 12, "of a later release": 1}], list[Copied])
    text = refresh_report(
        "image", {}, {}, copied=copied, orphans={}, checked=checked, filtered=FilteredCounts(), digest="d"
    )
    assert "`image`: 12 rows" in text
    assert "without a document" not in text
