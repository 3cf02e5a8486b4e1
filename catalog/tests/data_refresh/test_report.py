"""What a refresh reports."""

from catalog.data_refresh.report import refresh_report


def report(removed, rejected):
    return refresh_report(
        "image", {"met": 10}, {"met": 8}, copied=[{"table": "image", "rows": 12, "new": 2, "deleted": 0, "rejected": {}}], orphans={},
        checked={"documents": 8, "removed": removed, "rejected": rejected, "tags": {"kept": 1}}, digest="d", filtered=8, hidden=0,
    )  # fmt: skip


def test_rows_without_a_document_are_explained():
    text = report(3, {"the engine refuses it": 1})
    assert "`image`: 12 rows" in text
    assert "Rows without a document: 3 gone at their source; 1 rejected, the engine refuses it" in text


def test_nothing_is_said_when_each_row_has_one():
    assert "without a document" not in report(0, {})
