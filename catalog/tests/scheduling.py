"""Distribution of the tests over processes by pytest-xdist."""

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


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    """Gives the tests of the shared stack to two processes, and those with stacks of their own to a third.

    These are the largest groups, so they begin. They mostly wait, so each of the two processes has a stack.
    All other tests are given out one by one.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_OWN_STACKS):
            return "own stacks"
        if nodeid.startswith(_SECOND_STACK):
            return "second stack"
        return "stack" if nodeid.startswith(_STACK) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
