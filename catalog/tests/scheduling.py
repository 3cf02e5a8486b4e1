"""Distribution of the tests over processes by pytest-xdist."""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_WHOLE_FILES = ("catalog/tests/local/test_stack.py", "catalog/tests/local/test_bare_metal.py")


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    """Gives each process one test after the other, except those that share a stack or start stacks.

    The largest group is given first, so the tests that share the stack, which take longest, begin.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith("catalog/tests/e2e/"):
            return "stack"
        return file if file in _WHOLE_FILES else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Scheduling(config, log)
