"""State of a task that survives its retries."""

from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context

KEPT = timedelta(days=400)
_DONE_WITH = "done_with_max_tries"
_WORK, _FIRST, _BEGUN = "work", "first", "begun"


class FirstTime:
    """Whether no attempt of the current task has begun its work in this run; to be made as its first step.

    What the catalog database knows of the run's id then is of an earlier run: Airflow makes a deleted
    scheduled run again with its id, people choose ids, and a new database of Airflow knows none of those that
    were used. The state store belongs to the run, not to its id. It knows nothing of a run that an earlier
    release has begun, so clearing such a run is not the first time; nor is clearing a run whose attempts have
    all ended before their first step.

    As a context manager, it says so to the block that begins the work, and remembers the end of the block.
    """

    def __init__(self) -> None:
        context: Any = get_current_context()
        self._store = context["task_state_store"]
        state = self._store.get(_WORK, default=None)
        if state is None and (context["ti"].try_number <= 1 or not context["dag_run"].clear_number):
            state = _FIRST
            self._set(state)  # now: what follows may fail, and the task may be cleared
        self._first = bool(state == _FIRST)

    def __enter__(self) -> bool:
        return self._first

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._first and error is None:
            self._set(_BEGUN)

    def _set(self, state: str) -> None:
        self._store.set(_WORK, state, retention=KEPT)


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
        self._store.set(self._key, state, retention=KEPT)

    def clear(self) -> None:
        self.save({_DONE_WITH: self._max_tries, "state": self.load()})
