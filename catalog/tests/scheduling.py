"""Distribution of the tests over processes by pytest-xdist."""

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_STACK = "catalog/tests/e2e/"
_SECOND_STACK = tuple(
    f"{_STACK}test_{module}"
    for module in ("workflows", "engine_dags", "clear_", "idioms", "maintenance_dags", "malformed_settings")
)
_OWN_STACKS = (
    "catalog/tests/e2e/test_restore.py",
    "catalog/tests/local/test_bare_metal.py",
    "catalog/tests/local/test_stack.py",
)
_FIRST = ("stack", "second stack", "own stacks")  # they take longest


def _group_of(nodeid: str) -> str:
    """Return the group of a test, which one process runs.

    The tests of the shared stack are two groups, and those with stacks of their own a third. They mostly
    wait, so each of the two has a stack. The others are grouped by file, because many files have something
    that all of their tests share and that takes long to make.
    """
    if nodeid.startswith(_OWN_STACKS):
        return "own stacks"
    if nodeid.startswith(_SECOND_STACK):
        return "second stack"
    return "stack" if nodeid.startswith(_STACK) else nodeid.partition("::")[0]


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    def _split_scope(self, nodeid: str) -> str:
        return _group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # by `put_largest_first`
    return _Scheduling(config, log)


def put_largest_first(items: list[pytest.Item]) -> None:
    """Sort tests so that the groups that take longest begin."""
    groups = [_group_of(item.nodeid) for item in items]
    sizes = Counter(groups)
    order = {group: (group not in _FIRST, -sizes[group]) for group in sizes}
    items[:] = [item for _, item in sorted(zip(groups, items, strict=True), key=lambda one: order[one[0]])]
