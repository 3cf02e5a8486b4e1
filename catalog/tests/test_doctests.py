"""The examples in docstrings give what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

CATALOG = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(CATALOG.parent).with_suffix("").parts)
    for path in CATALOG.rglob("*.py")
    if "tests" not in path.parts and ">>> " in path.read_text()
)


def test_there_are_examples():
    assert "catalog.core.wording" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_right(name):
    assert doctest.testmod(import_module(name)).failed == 0
