"""Distribution of the tests over processes by pytest-xdist."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_STACKS = (
    "catalog/tests/e2e/",
    "catalog/tests/local/test_bare_metal.py",
    "catalog/tests/local/test_stack.py",
)


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    """Gives the tests of stacks to one process, because a machine may be too slow for two stacks at a time.

    They take longest, and begin. All other tests are given out one by one.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "stack" if nodeid.startswith(_STACKS) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
