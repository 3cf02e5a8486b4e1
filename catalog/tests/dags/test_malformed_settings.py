"""A malformed setting affects no other one.

Its default applies, one message names it, and alerts go out whatever is malformed.
"""

import json
from types import SimpleNamespace

import pytest

from catalog.core.setting import Malformed
from catalog.core.settings import SETTINGS, SILENCED_SLACK_NOTIFICATIONS, SLACK_MESSAGE_OVERRIDE
from catalog.tests.values import present

pytestmark = pytest.mark.airflow
TEXTS = {
    "not JSON": "True,",
    "list": '[1, {"a": 2}]',
    "object": '{"flickr_workflow": 5, "stocksnap_workflow": [[]]}',
    "string": '"yes"',
    "number": "1.5",
    "huge number": "1e999",
    "huge integer": "9" * 400,
    "negative": "-7",
    "nested too deep": "[" * 100_000,
    "nested too deep, an object": '{"a":' * 100_000,
    "bad pattern": json.dumps(
        {"flickr_workflow": [{"task_id_pattern": "(", "predicate": "", "issue": "", "timeout": "1s"}]}
    ),
    "bad entry": '{"stocksnap_workflow": [{"task_id_pattern": 5, "timeout": "soon"}, null, "x"]}',
    "lone surrogate": '{"a": "\\ud800"}',
    "undecodable bytes": '{"\udc80": "\udcff"}',  # as os.environ shows them
    "control character": "a\x00b\nc",
}
UNSET = {"null": "null", "empty": "", "blank": " \n"}
TYPED = [
    s
    for s in SETTINGS
    if s.kind in ("Variable", "Variable, JSON", "environment") and (s.of is not str or s.entry)
]
SLACK = [s for s in SETTINGS if s.name in ("SLACK_MESSAGE_OVERRIDE", "SILENCED_SLACK_NOTIFICATIONS")]
PARSED = ["CONFIGURATION_OVERRIDES", "CATCHUP_ENABLED"]
# Well-formed for these, whatever else they are: an object of anything, lines of a header.
FITS = {
    ("HELD_SCHEDULES", "object"),
    ("HELD_SCHEDULES", "bad pattern"),
    ("HELD_SCHEDULES", "bad entry"),
    ("TAG_POLICY", "object"),
    ("TAG_POLICY", "bad pattern"),
    ("TAG_POLICY", "bad entry"),
    ("CATALOG_RDS_SNAPSHOTS_TO_RETAIN", ""),
    ("ES_INDEX_THROTTLING_RATE", "number"),
    ("LINK_CHECK_RATE", "number"),
    ("DEFAULT_RETRY_DELAY", "number"),
    ("DATA_REFRESH_POKE_INTERVAL", "number"),
    ("AWS_RDS_POKE_INTERVAL", "number"),
    ("OAUTH2_AUTH_KEYS", "lone surrogate"),
}
TEXT_NAMES = {"CONTACT_EMAIL", "GITHUB_API_KEY"}


def fits(setting, text):
    if setting.name in TEXT_NAMES:
        return text not in ("control character", "undecodable bytes")
    return (setting.name, text) in FITS


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("setting", TYPED, ids=lambda s: s.name)
def test_a_malformed_setting_is_named_and_replaced(setting, text):
    """There is no other error, and no message holds the value, which may be a secret."""
    try:
        value, problem = setting.decode(TEXTS[text])
    except Malformed as error:
        assert setting.strict
        problem = str(error)
    else:
        if fits(setting, text):
            assert problem is None
            return
        assert problem
        assert value == setting.value or (setting.entry and not any(value.values()))
    assert problem.startswith(f"{setting.name} is malformed: ")
    assert "Its meaning: " in problem
    assert TEXTS[text][:6] not in problem


@pytest.mark.parametrize("text", UNSET)
@pytest.mark.parametrize("setting", TYPED, ids=lambda s: s.name)
def test_an_empty_setting_is_not_set(setting, text):
    if setting.kind == "Variable" and text == "null":  # a string like any other
        return
    assert setting.decode(UNSET[text]) == setting.decode(None) == (setting.value, None)


def test_no_entry_silences_every_alert():
    value, problem = SILENCED_SLACK_NOTIFICATIONS.decode(
        '{"flickr_workflow": [{"issue": "https://x.example/1", "predicate": ""}]}'
    )
    assert not any(value.values())
    assert problem


def test_one_bad_entry_affects_no_other():
    good = {"issue": "I", "predicate": "p", "task_id_pattern": "pull"}
    value, problem = SILENCED_SLACK_NOTIFICATIONS.decode(
        json.dumps({"a": [good, {**good, "task_id_pattern": "["}], "b": {}, "c": [good]})
    )
    problem = present(problem)
    assert {dag_id: len(entries) for dag_id, entries in value.items()} == {"a": 1, "b": 0, "c": 1}
    assert "entry 2 of a: task_id_pattern is not a regular expression" in problem
    assert "entry 1 of b: " in problem
    assert "The other entries are used." in problem


@pytest.mark.parametrize("text", [*TEXTS, *UNSET])
def test_every_dag_file_parses_whatever_is_set(monkeypatch, text):
    from airflow.dag_processing.dagbag import DagBag

    from catalog.dags.common import settings
    from catalog.tests.dags.test_dags import ROOT_DAGS

    value = {**TEXTS, **UNSET}[text].replace("\x00", "")
    monkeypatch.setattr(settings, "parse_problems", {})
    for setting in TYPED:
        name = setting.name if setting.kind == "environment" else f"AIRFLOW_VAR_{setting.name}"
        monkeypatch.setenv(name, value)
    bag = DagBag(ROOT_DAGS / "provider_workflows.py", collect_dags=True)
    assert bag.import_errors == {}
    assert len(bag.dags) > 15
    if text in TEXTS:
        assert {"CONFIGURATION_OVERRIDES", "CATCHUP_ENABLED", "DEFAULT_RETRY_COUNT"} <= set(
            settings.parse_problems
        )


@pytest.fixture
def slack(httpserver, monkeypatch):
    """Return a function that returns the messages that arrived at Slack."""
    httpserver.expect_request("/services/T/B/secret").respond_with_data("ok")
    for name in ("ALERTS", "NOTIFICATIONS"):
        monkeypatch.setenv(f"AIRFLOW_CONN_SLACK_{name}", httpserver.url_for("/services/T/B/secret"))
    return lambda: [request.get_json()["text"] for request, _ in httpserver.log]


def failed(exception):
    run = SimpleNamespace(logical_date=None, run_after=None, run_id="r", dag_id="flickr_workflow")
    instance = SimpleNamespace(
        dag_id="flickr_workflow", task_id="pull_image_data", try_number=1, log_url=None
    )
    return {"exception": exception, "ti": instance, "dag_run": run}


@pytest.mark.enable_socket
@pytest.mark.parametrize("environment", ["local", "production"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("setting", SLACK, ids=lambda s: s.name)
def test_alerts_go_out_while_slacks_own_variables_are_malformed(
    slack, monkeypatch, setting, text, environment
):
    from catalog.dags.operators.slack import alert_on_failure

    monkeypatch.setenv("AIRFLOW_VAR_ENVIRONMENT", environment)
    monkeypatch.setenv("AIRFLOW_VAR_SLACK_MESSAGE_OVERRIDE", "true")
    monkeypatch.setenv(f"AIRFLOW_VAR_{setting.name}", TEXTS[text].replace("\x00", ""))
    alert_on_failure(failed(RuntimeError("it broke")))
    [found] = slack()
    assert "it broke" in found
    assert f":warning: {setting.name} is malformed" in found


@pytest.mark.enable_socket
def test_alerts_go_out_while_no_variable_can_be_read(slack, monkeypatch):
    from airflow.sdk import Variable

    from catalog.dags.operators.slack import alert_on_failure

    def unavailable(*_, **__):
        raise RuntimeError("the secrets backend is unavailable")

    monkeypatch.setattr(Variable, "get", unavailable)
    alert_on_failure(failed(RuntimeError("it broke")))
    [found] = slack()
    assert "it broke" in found
    assert ":warning: SLACK_MESSAGE_OVERRIDE could not be read: RuntimeError" in found


@pytest.mark.enable_socket
def test_a_typo_does_not_send_reports_of_another_environment(slack, monkeypatch):
    from catalog.dags.operators.slack import send
    from catalog.notifications.message import Message

    monkeypatch.setenv("AIRFLOW_VAR_SLACK_MESSAGE_OVERRIDE", "True")
    assert "not production" in present(send(Message("text", "name", "d")))
    assert slack() == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1/x",
        "nonsense",
        "http://[",
        '{"conn_type": "http", "port": "x"}',
        '{"conn_type": 5}',
    ],
)
def test_no_webhook_fails_a_task(monkeypatch, uri, caplog):
    from catalog.dags.operators.slack import alert_on_failure

    monkeypatch.setenv("AIRFLOW_CONN_SLACK_ALERTS", uri)
    monkeypatch.setenv(f"AIRFLOW_VAR_{SLACK_MESSAGE_OVERRIDE.name}", "true")
    alert_on_failure(failed(RuntimeError("it broke")))
    assert "it broke" in caplog.text


@pytest.mark.enable_socket
def test_a_slack_connection_is_read_by_airflows_hook(slack, httpserver, monkeypatch):
    from catalog.dags.operators.slack import _webhook

    base = {"conn_type": "slackwebhook", "host": httpserver.url_for("/services"), "password": "T/B/secret"}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_ALERTS", json.dumps(base))
    found = _webhook("slack_alerts")
    assert (found.url, found.timeout) == (httpserver.url_for("/services/T/B/secret"), 20)
    extra = {"proxy": "http://proxy.example.org:3128", "timeout": 7}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_ALERTS", json.dumps({**base, "extra": extra}))
    found = _webhook("slack_alerts")
    assert (found.proxy, found.timeout) == (extra["proxy"], 7)
