"""Rounds that divide a collection by a fixed list of values are compared with the whole collection."""

import pytest

from catalog.core.errors import NotWhole, SkippedErrors
from catalog.ingestion.completeness import parts_shortfall
from catalog.ingestion.state import MemoryCheckpoint
from catalog.provider_api import Fatal, Page
from catalog.tests.ingestion.test_pull import provider, pull, rows
from catalog.tests.ingestion.test_whole import Announced


@pytest.mark.parametrize(
    ("parts", "whole", "found"),
    [
        (100, 100, False),
        (120, 100, False),
        (0, 0, False),
        (996, 1000, False),
        (980, 1000, True),
        (0, 1, True),
    ],
)
def test_parts_are_compared_with_the_whole(parts, whole, found):
    shortfall = parts_shortfall(parts, whole, "color")
    assert (shortfall.items if shortfall else None) == (whole - parts if found else None)


class Parts(Announced):
    """Two parts of two items each; `announces` says whether they have a total, `broken` is a part."""

    def __init__(self, *, announces=True, broken=None):
        super().__init__()
        self.announces, self.broken = announces, broken

    def fetch(self, client, cursor, params):
        part = params["part"]
        if part == self.broken:
            raise Fatal("this part fails")
        return Page([f"{part}1", f"{part}2"], total=2 if self.announces else None)

    def skip(self, cursor):
        return None


def parted(whole, **pages):
    """A provider with two parts, and a collection of a given size; and what it was asked at the end."""
    made, asked = provider(Parts(**pages)), []

    def at_the_end(client, window, announced):
        asked.append(announced)
        return None if announced is None else parts_shortfall(announced, whole, "part")

    made.rounds = lambda client, window: [{"part": "a"}, {"part": "b"}]
    made.uncovered = at_the_end
    return made, asked


def test_a_part_that_is_on_no_list_is_missed(tmp_path):
    made, asked = parted(6)
    checkpoint = MemoryCheckpoint()
    for _ in range(2):
        pulled = pull(tmp_path, made, checkpoint)
        with pytest.raises(NotWhole, match="the parts by part hold 4 items, the collection 6"):
            pulled.run()
        assert pulled.parts.load().announced == 6
    assert asked == [4, 4]
    assert rows(pulled) == ["a1", "a2", "b1", "b2"]
    accepted = pull(tmp_path, made, accept_shortfall=True).run()
    assert (accepted.whole, accepted.announced) == (True, 6)


def test_a_cleared_pull_reads_parts_that_were_missed(tmp_path):
    """The collection is no smaller now, but its parts are other ones."""
    made, _ = parted(6)
    checkpoint = MemoryCheckpoint()
    with pytest.raises(NotWhole):
        pull(tmp_path, made, checkpoint).run()
    made.rounds = lambda client, window: [{"part": "a"}, {"part": "b"}, {"part": "c"}]
    again = pull(tmp_path, made, checkpoint)
    assert again.run().whole
    assert rows(again) == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_parts_that_are_all_there(tmp_path):
    made, _ = parted(4)
    manifest = pull(tmp_path, made).run()
    assert (manifest.whole, manifest.announced) == (True, 4)


def test_without_a_total_of_each_part_there_is_no_sum(tmp_path):
    made, asked = parted(6, announces=False)
    assert pull(tmp_path, made).run().whole
    assert asked == [None]


def test_a_limited_pull_is_not_compared(tmp_path):
    made, asked = parted(6)
    pull(tmp_path, made, limit=1).run()
    assert not asked


def test_a_pull_with_a_failed_page_is_compared_once_it_was_read(tmp_path):
    checkpoint = MemoryCheckpoint()
    made, asked = parted(6, broken="b")
    with pytest.raises(SkippedErrors, match="this part fails"):
        pull(tmp_path, made, checkpoint, skip_errors=True).run()
    assert not asked
    made, asked = parted(6)
    with pytest.raises(NotWhole, match="the parts by part hold 4 items, the collection 6"):
        pull(tmp_path, made, checkpoint).run()
    assert asked == [4]
