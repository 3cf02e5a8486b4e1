"""Fixtures of the tests of loads."""

from pathlib import Path

import pytest

from catalog.tests.loading.loader import Loader


@pytest.fixture
def load(dsn: str, tmp_path: Path) -> Loader:
    """Return a loader into a catalog database of the test's own."""
    return Loader(dsn, tmp_path)
