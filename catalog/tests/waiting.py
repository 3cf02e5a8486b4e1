"""Waiting for a condition."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def until(condition: Callable[[], Value], seconds: float = 60) -> Value:
    """Wait until a condition is true, and return its value.

    Args:
        condition: Called again and again until it returns a true value.
        seconds: Time after which the test fails.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value
