"""Sensors that several DAGs share."""

from collections.abc import Callable
from typing import Any

from airflow.sdk import task


def reschedule_sensor(every: float, hours: float, **options: Any) -> Callable[[Callable[..., bool]], Any]:
    """Turn a function into a sensor that gives up its worker slot between two checks.

    A slow scheduler can take a rescheduled attempt for a lost one. That costs a retry, so there are ten.

    Args:
        every: Seconds between two checks.
        hours: After which the sensor fails.
        options: Arguments of `task.sensor`.
    """
    return task.sensor(mode="reschedule", poke_interval=every, timeout=hours * 3600, retries=10, **options)
