"""The faults of a soak."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from catalog.soak.faults import Faults
from catalog.soak.journal import Journal
from catalog.soak.plan import Step


@pytest.mark.parametrize("kind", ["engine-kill", "database-stop"])
def test_a_server_that_is_being_restarted_is_not_killed(monkeypatch, kind):
    """Its PID in the state is 0 then, and a signal to 0 ends the soak with all processes of its group."""
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    stack = SimpleNamespace(state=lambda: {"postgres": 0, "search": 0, "parts": {}})
    world: Any = SimpleNamespace(stack=stack)
    injector = Faults(world, Journal())
    assert not injector.inject(Step(1.0, kind, {"pick": 0.5}))
    assert not killed
    assert not injector.counts
