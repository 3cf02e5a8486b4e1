"""Types of the values that Airflow passes to the tasks that name them as parameters."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from airflow.sdk import TaskInstance, get_current_context  # type: ignore[attr-defined]  # the stub lacks the first
from airflow.sdk.types import DagRunProtocol

__all__ = ["GIVEN", "DagRun", "Params", "TaskInstance", "show_in_map_index"]

DagRun: TypeAlias = DagRunProtocol
Params: TypeAlias = Mapping[str, Any]  # the conf of a run, with the defaults of what it leaves out
GIVEN: Any = None  # default of a parameter whose value Airflow passes when the task runs


def show_in_map_index(**values: str) -> None:
    """Set the values that the task's `map_index_template` shows in the UI."""
    cast(dict[str, Any], get_current_context()).update(values)
