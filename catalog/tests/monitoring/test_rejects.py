"""Examples of rejects, from files beside the parts."""

import io
from datetime import UTC, datetime

import orjson
import pytest
from upath import UPath

from catalog.cli.pull_output import show_rejects
from catalog.ingestion.parts import Parts
from catalog.monitoring import rejects

STARTED = datetime(2024, 3, 14, tzinfo=UTC)


@pytest.fixture
def parts(tmp_path):
    return Parts(UPath(tmp_path), "flickr", STARTED, None, "key")


def test_one_example_of_each_reason(parts):
    items = [{"media_type": "image", "reason": "no url", "raw": {"n": n}} for n in range(5)]
    parts.write_rejects(0, items)
    parts.write_rejects(1, [{"media_type": "audio", "reason": "no url", "raw": {"n": 9}}])
    found = rejects.examples([parts], 5)
    assert [(one.media_type, one.reason) for one in found] == [("image", "no url"), ("audio", "no url")]
    assert orjson.loads(found[0].raw) == {"raw": {"n": 0}}


def test_no_more_than_wanted(parts):
    parts.write_rejects(0, [{"media_type": "image", "reason": f"reason {n}"} for n in range(9)])
    assert len(rejects.examples([parts], 3)) == 3


def test_long_records_are_shortened_and_summaries_left_out(parts):
    parts.write_rejects(0, [{"reason": "long", "raw": "x" * 10_000}, {"reason": "9 more", "not_listed": {}}])
    [found] = rejects.examples([parts], 5)
    assert found.media_type == ""
    assert len(found.raw) <= rejects.LONGEST + 2


def test_a_line_in_which_a_number_was_masked_is_left_out(parts, capsys):
    items = [{"media_type": "image", "reason": "no url", "raw": {"n": n}} for n in (12345678, 5)]
    parts.write_rejects(0, items, redact=lambda text: text.replace("12345678", "***"))
    assert [orjson.loads(one.raw) for one in rejects.examples([parts], 5)] == [{"raw": {"n": 5}}]
    show_rejects(parts)
    assert 'the first item: {"n":5}' in capsys.readouterr().err


def test_without_files_there_are_no_examples(parts):
    assert rejects.examples([parts], 5) == []


def test_a_page_reads_few_files_of_a_pull_whatever_its_size():
    opened = []

    class Path:
        def open(self, mode):
            opened.append(mode)
            return io.BytesIO(b'{"media_type": "image", "reason": "no url"}\n')

    parts = type("Pull", (), {"reject_files": lambda self: [Path()] * 5_000})()
    assert len(rejects.examples([parts], 5)) == 1
    assert len(opened) == rejects.FILES
