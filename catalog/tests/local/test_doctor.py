"""`./just doctor --keys`, with an API on this machine and without a running stack."""

import json
import sys
import traceback

import pytest

from catalog.ingestion.counted import Counted
from catalog.ingestion.credentials import ApiKey
from catalog.ingestion.provider import Provider
from catalog.local import __main__ as local
from catalog.local import demo, doctor, keys
from catalog.local.stack import Stack

KEY = "k3y/with+odd=chars"


def test_a_demo_with_real_apis_runs_providers_that_need_no_key_or_have_one(monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_API_KEY_JAMENDO", "")
    stored = {"API_KEY_JAMENDO": KEY, "API_KEY_FLICKR": KEY, "API_KEY_NYPL": ""}
    names = ["flickr", "inaturalist", "jamendo", "nypl", "stocksnap"]
    assert demo.with_access(names, stored) == ["flickr", "stocksnap"]


@pytest.fixture
def run(httpserver, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command, with one provider, and returns its output in one line."""

    class Museum(Provider):
        name = "museum"
        catalog_names = {"image": "museum"}
        key = ApiKey("API_KEY_MUSEUM", "key", "https://museum.example.org/keys", header=True)
        pages = Counted(httpserver.url_for("/api"), items="items")

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["just", "doctor", *options])
        with pytest.raises(SystemExit):
            local.main()
        return " ".join(word for word in capsys.readouterr().out.split() if word not in "│┃")

    for module in (doctor, keys):
        monkeypatch.setattr(module, "provider_classes", lambda: [Museum])
    monkeypatch.setattr(local, "Stack", lambda: Stack(tmp_path / "state"))
    monkeypatch.setenv("AIRFLOW_VAR_PRIVATE_HOSTS", json.dumps(["localhost"]))
    monkeypatch.setenv("AIRFLOW_VAR_CONTACT_EMAIL", "me@example.org")
    return run


def test_nobody_is_asked_unless_asked_for(httpserver, run, monkeypatch):
    monkeypatch.setenv("AIRFLOW_VAR_API_KEY_MUSEUM", KEY)
    assert "API_KEY_MUSEUM" not in run()
    assert httpserver.log == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "ok accepted by museum"),
        (401, "wrong refused by museum; get another one at https://museum.example.org/keys, set AIRFL"),
        (503, "note museum could not be asked: "),
        (400, "note museum says neither yes nor no: "),
    ],
)
def test_what_the_api_says_about_a_key(httpserver, run, monkeypatch, status, said):
    """The server repeats the key, and text that the terminal's library would take for markup."""
    body = json.dumps({"items": [1]} if status == 200 else {"message": f"[/] {KEY} [bold]"})
    httpserver.expect_request("/api").respond_with_data(body, status, content_type="application/json")
    monkeypatch.setenv("AIRFLOW_VAR_API_KEY_MUSEUM", KEY)
    shown = run("--keys")
    assert f"key API_KEY_MUSEUM {said}" in shown
    assert KEY not in shown
    assert status == 200 or f'status {status} {{"message": "[/] *** [bold]"}}' in shown
    [(request, _)] = httpserver.log
    assert request.headers["key"] == KEY
    assert "me@example.org" in request.headers["User-Agent"]


@pytest.mark.parametrize("value", [None, ""])
def test_a_key_that_is_not_set(httpserver, run, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("AIRFLOW_VAR_API_KEY_MUSEUM", value)
    where = "Get one at https://museum.example.org/keys, set AIRFLOW_VAR_API_KEY_MUSEUM in .env"
    assert f"key API_KEY_MUSEUM note not set; museum runs on recordings only. {where}" in run("--keys")
    assert httpserver.log == []


class ParsedTooLongError(Exception):
    """As Airflow's, whose message goes on with advice."""


def too_long():
    raise ParsedTooLongError("not parsed after 30 s\nPlease look at:\n* https://example.org#dags, PID: 5")


def of_syntax():
    compile("def (:\n", "museum.py", "exec")


def while_handling():
    try:
        too_long()
    except ParsedTooLongError as error:
        raise LookupError("no DAG") from error


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (too_long, "ParsedTooLongError: not parsed after 30 s"),
        (of_syntax, "SyntaxError: invalid syntax"),
        (while_handling, "LookupError: no DAG"),
    ],
)
def test_of_a_dag_file_that_cannot_be_imported_the_exception_is_named(fail, said):
    try:
        fail()
    except Exception:
        assert doctor.raised_in(traceback.format_exc()).endswith(said)
    assert doctor.raised_in(f"{said}\nmore\n") == said
