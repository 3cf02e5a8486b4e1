"""State of a task that survives its retries."""

from datetime import timedelta
from typing import Any

_DONE_WITH = "done_with_max_tries"


class TaskStateCheckpoint:
    """State in Airflow's task state store, which survives retries and clearing a task that failed.

    The state of finished work is kept for the remaining retries: a task that is killed before it can report
    its success finds nothing left to do. Clearing a task raises its `max_tries`; finished work then starts
    from the beginning.
    """

    def __init__(self, context: Any, key: str = "pull") -> None:
        self._store, self._max_tries, self._key = context["task_state_store"], context["ti"].max_tries, key

    def load(self) -> dict[str, Any] | None:
        state = self._store.get(self._key, default=None)
        if isinstance(state, dict) and _DONE_WITH in state:
            return state["state"] if state[_DONE_WITH] == self._max_tries else None
        return state  # type: ignore[no-any-return]

    def save(self, state: dict[str, Any]) -> None:
        self._store.set(self._key, state, retention=timedelta(days=400))

    def clear(self) -> None:
        self.save({_DONE_WITH: self._max_tries, "state": self.load()})
