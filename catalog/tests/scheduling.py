"""Distribution of the tests over processes by pytest-xdist."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_STACK = "catalog/tests/e2e/"
_SEARCH = tuple(f"{_STACK}test_{name}.py" for name in ("clear_anything", "data_refresh", "engine_dags"))
_OWN_STACKS = (
    "catalog/tests/e2e/test_restore.py",
    "catalog/tests/local/test_bare_metal.py",
    "catalog/tests/local/test_stack.py",
)


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    """Keeps tests together that share a stack, which takes a minute to start.

    The tests of the indexes share one, and all other end-to-end tests another; tests with stacks of their own
    come one after the other. These are the largest groups, so they begin. Half of the time they wait for a
    scheduler; meanwhile other processes run all other tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_OWN_STACKS):
            return "own stacks"
        if nodeid.startswith(_SEARCH):
            return "search"
        return "stack" if nodeid.startswith(_STACK) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
