"""The interval covers the truth as often as it says."""

import random

import pytest

from catalog.links.estimate import sample_size, wilson
from catalog.tests.values import present


def test_sizes_of_samples():
    assert [sample_size(margin) for margin in (0.01, 0.03, 0.05)] == [9604, 1068, 385]
    for wrong in (0, 0.5, -1):
        with pytest.raises(ValueError, match="is not between 0 and"):
            sample_size(wrong)


@pytest.mark.parametrize("gone", [0, 20, 200, 1000, 2000])
def test_the_interval_covers_the_truth(gone):
    """Of 2,000 files some are gone; each seed draws another sample."""
    files = [True] * gone + [False] * (2000 - gone)
    covered, size = 0, sample_size(0.05)
    for seed in range(200):
        found = present(wilson(sum(random.Random(seed).sample(files, size)), size))
        covered += found.low <= gone / 2000 <= found.high
        assert found.high - found.low <= 2 * 0.05 + 0.001
    assert covered >= 0.95 * 200


def test_no_hit_is_not_no_share():
    found = present(wilson(0, 1000))
    assert (found.share, found.low) == (0, 0)
    assert 0.003 < found.high < 0.004
    assert wilson(0, 0) is None
    assert present(wilson(5, 5)).high == 1
