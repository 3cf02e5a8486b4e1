"""Fixtures of the tests of the dataset."""

import pytest

from catalog.tests.publishing.publisher import Publisher


@pytest.fixture
def publisher(dsn, tmp_path):
    return Publisher(dsn, tmp_path / "dataset")
