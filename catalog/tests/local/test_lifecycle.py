"""Conditions under which a stack is ready."""

import json
import sys

import pytest

from catalog.ingestion.registry import provider_names
from catalog.local import __main__ as local
from catalog.local import lifecycle
from catalog.local.airflow_api import AirflowApi
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


class Answering(AirflowApi):
    """An Airflow that gives these answers, one after the other."""

    def __init__(self, answers):
        super().__init__("http://127.0.0.1:9")
        self._answers = answers

    def dags(self):
        return self._answers.pop(0)


def test_a_dag_that_is_not_parsed_yet_is_waited_for(dags):
    """Such as that of a provider that was just added."""
    answers = [{name: dags[name] for name in dags if name != "flickr_workflow"}, dags]
    said: list[str] = []
    lifecycle.require_dag(Answering(answers), "flickr_workflow", said.append, sleep=lambda _: None)
    assert said == ["waiting while Airflow parses flickr_workflow"]
    assert not answers


@pytest.mark.parametrize("missing", ["flickr_workflow", None])
def test_a_dag_that_does_not_exist_is_named(dags, missing):
    """Soon, although a file is never parsed."""
    dags.pop(missing, None)
    with pytest.raises(lifecycle.StackError, match=r"there is no DAG flicker; there are .*nypl_") as raised:
        lifecycle.require_dag(Answering([dags]), "flicker", print, timeout=0, sleep=lambda _: None)
    assert str(raised.value).endswith("not parsed yet: flickr_workflow") == bool(missing)


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_command_that_finds_something_wrong_has_a_status(tmp_path, monkeypatch, command):
    monkeypatch.setattr(local, "Stack", lambda: Stack(tmp_path / "state"))
    monkeypatch.setattr(sys, "argv", ["just", command])
    with pytest.raises(SystemExit) as ended:
        local.main()
    assert ended.value.code == 1


def test_brackets_of_an_error_are_printed(tmp_path, monkeypatch, capsys):
    """The library of the terminal would take them for markup: it drops some, and refuses others."""
    stack = Stack(tmp_path / "state")
    stack.folder.mkdir()
    error = "RuntimeError: [data] is missing [/opt/y]"
    stack.state_file.write_text(json.dumps({"phase": "ended", "error": error}))
    monkeypatch.setattr(local, "Stack", lambda: stack)
    monkeypatch.setattr(sys, "argv", ["just", "status"])
    with pytest.raises(SystemExit):
        local.main()
    assert error in " ".join(capsys.readouterr().out.split())
