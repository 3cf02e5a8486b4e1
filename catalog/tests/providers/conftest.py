"""Fixtures of the tests of providers."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def few_prefixes() -> Iterator[None]:
    """Let a pull of Smithsonian send six requests instead of 258: most of its lists are empty, and alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.providers.smithsonian.provider.PREFIXES", ["00", "0a", "0b", "ff"])
        yield
