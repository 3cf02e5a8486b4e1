"""Conditions under which a stack is ready."""

import sys

import pytest

from catalog.ingestion.provider import provider_names
from catalog.local import __main__ as local
from catalog.local import lifecycle
from catalog.local.stack import ROOT, Stack


@pytest.fixture
def dags():
    """Return what Airflow knows by DAG id when every file is parsed: one DAG per file, and the providers'."""
    folder = ROOT / "catalog" / "dags"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "dag_factory"}
    found = {file: {"fileloc": str(folder / f"{file}.py")} for file in files}
    workflows = {
        f"{name}_workflow": {"fileloc": str(folder / "provider_workflows.py")} for name in provider_names()
    }
    return {**found, **workflows}


def test_every_dag_is_waited_for(dags):
    """All are, however many there are: the next DAG to be triggered may be the missing one."""
    assert lifecycle._unparsed(dags) == []
    del dags["flickr_workflow"]
    assert lifecycle._unparsed(dags) == ["flickr_workflow"]
    del dags["popularity_refresh"]
    assert lifecycle._unparsed(dags) == ["popularity_refresh.py"]
    assert len(lifecycle._unparsed({})) > 10


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_command_that_finds_something_wrong_has_a_status(tmp_path, monkeypatch, command):
    monkeypatch.setattr(local, "Stack", lambda: Stack(tmp_path / "state"))
    monkeypatch.setattr(sys, "argv", ["just", command])
    with pytest.raises(SystemExit) as ended:
        local.main()
    assert ended.value.code == 1
