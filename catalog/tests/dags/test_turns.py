"""A task that waits for its turn notes for which runs, where the dashboard finds it."""

import pytest

from catalog.core.airflow_names import WAITS_FOR

pytestmark = pytest.mark.airflow


def test_a_run_that_waits_notes_for_which_others(monkeypatch):
    from airflow.sdk import DAG

    from catalog.dags.operators import turns

    noted, busy = [], ["image_data_refresh (run a)", "audio_data_refresh (run b)"]

    class Instance:
        def xcom_push(self, *pair):
            noted.append(pair)

    monkeypatch.setattr(turns, "_take", lambda: busy)
    monkeypatch.setattr(turns, "get_current_context", lambda: {"ti": Instance()})
    with DAG("waits"):
        check = turns.wait_for_turn().operator.python_callable
    assert not check()
    assert noted == [(WAITS_FOR, "image_data_refresh (run a), audio_data_refresh (run b)")]
    busy.clear()
    assert check()
    assert len(noted) == 1
