"""The task that deletes old logs, on a folder of logs."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowFailException

from catalog.dags import airflow_log_cleanup as module

pytestmark = pytest.mark.airflow


@pytest.fixture
def cleaned(tmp_path, monkeypatch):
    """Return a function that runs the task on a folder with the logs of two runs."""
    for run in ("a", "b"):
        (tmp_path / "dag_id=d" / f"run_id={run}").mkdir(parents=True)
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", f"{tmp_path}")
    monkeypatch.setattr(module, "state_of", lambda *_: "success")
    assert conf.get("logging", "base_log_folder") == f"{tmp_path}"
    own: Any = SimpleNamespace(dag_id="airflow_log_cleanup", run_id="r")
    return lambda **params: module.log_cleaner_operator.function(
        {"maxLogAgeInDays": -1, "enableDelete": True} | params, own, None
    )


def test_what_was_deleted_is_returned(cleaned, tmp_path):
    assert len(cleaned(enableDelete=False)) == 2
    assert cleaned() == [f"{tmp_path}/dag_id=d/run_id={run}" for run in ("a", "b")]
    assert not (tmp_path / "dag_id=d").exists()
    assert cleaned() == []


def test_logs_that_cannot_be_deleted_are_no_success(cleaned, monkeypatch):
    """Otherwise the disk is full one day; root may delete anything, so the error is made up."""

    def refused(path, *, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", f"{path}")

    monkeypatch.setattr("catalog.maintenance.logs.shutil.rmtree", refused)
    with pytest.raises(AirflowFailException, match=r"2 of 2 folders below .* could not be deleted"):
        cleaned()


def test_a_log_folder_that_is_missing(cleaned, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", f"{tmp_path}/none")
    with pytest.raises(AirflowFailException, match=r"base_log_folder, .*/none, is no folder"):
        cleaned()
