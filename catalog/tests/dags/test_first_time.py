"""Whether a task begins its work for the first time in its run, whatever is known of the run's id."""

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.airflow


class Store:
    """The state store of a task, which belongs to one run."""

    def __init__(self):
        self.values = {}

    def get(self, key, default=None):
        return self.values.get(key, default)

    def set(self, key, value, retention=None):
        self.values[key] = value


@pytest.fixture
def attempt(monkeypatch):
    """Return a function that makes an attempt, with the numbers of the attempt and of clears before it.

    It returns whether it is the first one, and fails before or in the work if told so.
    """
    from catalog.dags.common import state

    def made(store, number, cleared=0, fails=""):
        context = {
            "task_state_store": store,
            "ti": SimpleNamespace(try_number=number),
            "dag_run": SimpleNamespace(clear_number=cleared),
        }
        monkeypatch.setattr(state, "get_current_context", lambda: context)
        first_time = state.FirstTime()
        if fails == "before":
            return None
        with first_time as first:
            if fails:
                raise ConnectionError
        return first

    return made


def test_attempts_until_the_work_has_begun_are_the_first(attempt):
    store = Store()
    assert attempt(store, 1, fails="before") is None
    with pytest.raises(ConnectionError):
        attempt(store, 2, fails="in")
    assert attempt(store, 3, cleared=1)
    assert not attempt(store, 4, cleared=1)
    assert not attempt(store, 5, cleared=2)
    assert attempt(Store(), 1)  # the run was deleted and made again


def test_a_retry_of_a_run_that_was_never_cleared_is_the_first_if_nothing_is_known(attempt):
    """An attempt that was killed when it started has left nothing."""
    assert attempt(Store(), 3)


def test_a_run_that_an_earlier_release_has_begun_is_cleared(attempt):
    assert not attempt(Store(), 2, cleared=1)
