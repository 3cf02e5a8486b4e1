"""Fixtures of the tests of the data refresh."""

import pytest

from catalog.core.session import Connection
from catalog.database import sample_data


@pytest.fixture
def filled(api: Connection) -> Connection:
    """Return a connection to an API database with 500 images."""
    sample_data.fill(api, "api", 500)
    return api
