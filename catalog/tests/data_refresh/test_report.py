"""The report of a refresh."""

import msgspec

from catalog.data_refresh.report import Checked, FilteredCounts, incremental_report, refresh_report
from catalog.data_refresh.tables.apply import Applied
from catalog.data_refresh.tables.progress import TableProgress


def text_of(report):
    return "\n".join([f"*{report.title}*: {report.summary}", *report.lines])


def report(removed, rejected):
    return refresh_report(
        "image",
        {"met": 10},
        {"met": 8},
        copied=[TableProgress("image", rows=12, new=2)],
        orphans={},
        checked=Checked(8, removed, rejected, {"kept": 1}),
        filtered=FilteredCounts(8, 0),
        digest="d",
    )


def test_rows_without_a_document_are_explained():
    text = text_of(report(3, {"the engine refuses it": 1}))
    assert "`image`: 12 rows" in text
    assert "Rows without a document: 3 removed from their source; 1 rejected, the engine refuses it" in text


def test_nothing_is_reported_when_each_row_has_a_document():
    assert "without a document" not in text_of(report(0, {}))


def test_counts_of_an_earlier_release_are_accepted():
    """A run that an upgrade interrupts reports the counts of tasks of the earlier release."""
    checked = msgspec.convert({"documents": 8, "rejected": {}, "tags": {"kept": 1}}, Checked)
    copied = msgspec.convert([{"table": "image", "rows": 12, "of a later release": 1}], list[TableProgress])
    found = refresh_report(
        "image", {}, {}, copied=copied, orphans={}, checked=checked, filtered=FilteredCounts(), digest="d"
    )
    text = text_of(found)
    assert "`image`: 12 rows" in text
    assert "without a document" not in text


def test_a_full_refresh_says_why_it_is_not_incremental():
    found = refresh_report(
        "image",
        {},
        {},
        copied=[TableProgress("image")],
        orphans={},
        checked=Checked(),
        filtered=FilteredCounts(),
        digest="d",
        reason="there was no refresh before",
    )
    assert "A full refresh, because there was no refresh before." in text_of(found)


def test_numbers_that_are_not_known_are_not_zero():
    found = incremental_report("image", {"met": 1}, {"met": 1}, applied={}, updated={}, digest="d")
    assert "Changed rows: not known, because promote_tables ended before it" in text_of(found)


def test_an_incremental_refresh():
    found = incremental_report(
        "audio",
        {"met": 10, "nypl": 5},
        {"met": 8, "nypl": 5},
        applied={"audioset": Applied(), "audio": Applied(1, 2000, 3, {"list_fk": 4})},
        updated={"changed": 2001, "hidden": 7, "removed": 1, "rejected": {"bad": 2}, "filtered": 11},
        digest="d",
    )
    assert text_of(found).splitlines() == [
        "*Audio data refresh complete, incremental*: 15 → 13 documents (-2, -13.33%)",
        "  - met: 10 → 8 (-2, -20.00%)",
        "  _Sources that did not change are omitted._",
        "`audioset`: 0 rows inserted, 0 updated, 0 deleted",
        "`audio`: 1 rows inserted, 2,000 updated, 3 deleted",
        "4 orphans of list_fk deleted",
        "2,001 documents written; 1 removed from their source; 2 rejected, bad",
        "Filtered index: 11 documents (policy d)",
    ]
