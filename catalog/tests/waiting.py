"""Waiting for a condition, and for the end of a session."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

Value = TypeVar("Value")


def until(condition: Callable[[], Value], seconds: float = 60) -> Value:
    """Wait until a condition is true, and return its value.

    A condition that takes long, such as a request to Airflow, is asked less often: it would take the
    processor from what is waited for.

    Args:
        condition: Called again and again until it returns a true value.
        seconds: Time after which the test fails.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if value := condition():
            return value
        answered = time.monotonic()
        assert answered < deadline, "waited in vain"
        time.sleep(min(max(0.02, 4 * (answered - asked)), 0.3))


def terminate(connection: psycopg.Connection[Any], pid: int) -> None:
    """End a session of the server, and wait until it has ended.

    Args:
        connection: Another connection to the server.
        pid: Process id of the session's backend.
    """
    assert connection.execute("select pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
    until(lambda: not connection.execute("select from pg_stat_activity where pid = %s", [pid]).rowcount)
