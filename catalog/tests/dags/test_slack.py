"""Messages at Slack's end of the connection."""

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.errors import Fatal, Refused
from catalog.tests.values import present

pytestmark = [pytest.mark.airflow, pytest.mark.enable_socket]
RUN_URL = "http://airflow.example.org/dags/flickr_workflow/runs/manual__1"


@pytest.fixture
def slack(httpserver, monkeypatch):
    """Return a function that returns what arrived at Slack."""
    import catalog.dags.operators.slack  # noqa: F401 - at its first import, Airflow removes handlers of logs

    httpserver.expect_request("/services/T/B/secret").respond_with_data("ok")
    monkeypatch.setenv("AIRFLOW_CONN_SLACK_ALERTS", httpserver.url_for("/services/T/B/secret"))
    monkeypatch.setenv("AIRFLOW_VAR_ENVIRONMENT", "production")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.org/")
    return lambda: [request.get_json() for request, _ in httpserver.log]


def failed(exception):
    return {
        "exception": exception,
        "ti": SimpleNamespace(
            dag_id="flickr_workflow",
            task_id="pull_image_data",
            try_number=2,
            log_url=f"{RUN_URL}/tasks/pull_image_data?try_number=2",
        ),
        "dag_run": SimpleNamespace(
            logical_date=None, run_after=None, run_id="manual__1", dag_id="flickr_workflow"
        ),
    }


@pytest.mark.parametrize(
    ("exception", "said"),
    [
        (Fatal("many are gone.\nTrigger it again"), "many are gone. Trigger it again"),
        (Refused("mode: use auto"), "mode: use auto"),
        (AirflowFailException("no list of terms"), "no list of terms"),
        (RuntimeError("row of somebody"), "RuntimeError; the log of the task says more"),
        (Fatal("https://u:hunter2@h/x is missing"), "https://***@h/x is missing"),
    ],
)
def test_the_reason_is_noted_for_monitoring(slack, exception, said):
    """Errors that are not written for people may quote anything."""
    from catalog.dags.operators.slack import UpstreamFailed, alert_on_failure

    noted: list[tuple[str, str]] = []
    context = failed(exception)
    context["ti"].xcom_push = lambda key, value: noted.append((key, value))
    alert_on_failure(context)
    alert_on_failure(context | {"exception": UpstreamFailed("another task has failed")})
    assert noted == [("failure", said)]
    assert len(slack()) == 1


def test_a_reason_that_cannot_be_noted_costs_no_alert(slack, caplog):
    from catalog.dags.operators.slack import alert_on_failure

    def away(key, value):
        raise ConnectionError

    context = failed(Fatal("it broke"))
    context["ti"].xcom_push = away
    alert_on_failure(context)
    assert len(slack()) == 1
    assert "The reason could not be noted: ConnectionError" in caplog.text


def test_an_alert_says_what_and_where(slack, caplog):
    from catalog.dags.operators.slack import alert_on_failure

    with caplog.at_level("INFO"):
        alert_on_failure(failed(RuntimeError("it <broke>")))
    [found] = slack()
    assert found["blocks"] == [
        {"type": "header", "text": {"type": "plain_text", "text": "pull_image_data failed", "emoji": False}},
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": "*DAG*\n`flickr_workflow`"},
                {"type": "mrkdwn", "text": "*Task*\n`pull_image_data`, attempt 2"},
            ],
        },
        {
            "type": "section",
            "text": {
                "type": "mrkdwn",
                "text": "*Exception Type*: `builtins.RuntimeError`\n*Exception*: it &lt;broke&gt;",
            },
        },
        {
            "type": "context",
            "elements": [
                {"type": "mrkdwn", "text": "*Run*: `manual__1`"},
                {"type": "mrkdwn", "text": f"<{RUN_URL}|View Run>"},
                {
                    "type": "mrkdwn",
                    "text": f"*Log*: <{RUN_URL}/tasks/pull_image_data?try_number=2|View Logs>",
                },
            ],
        },
    ]
    assert found["text"].splitlines()[0] == "*pull_image_data failed*"
    assert found["text"] in caplog.text


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        ("ok", True),
        ("ok\n", True),
        ("", True),
        ('{"ok": true}', True),
        ("<!DOCTYPE html><title>Sign in</title>", False),
        ("\n <html>", False),
        ('{"ok": false, "error": "invalid_token"}', False),
    ],
)
def test_a_page_is_no_answer_of_a_webhook(httpserver, slack, body, taken):
    from catalog.dags.operators.slack import try_to_send
    from catalog.notifications.message import Message

    httpserver.clear_all_handlers()
    httpserver.expect_request("/services/T/B/secret").respond_with_data(body)
    unsent = try_to_send(Message("Something", "name", "d", alert=True))
    assert len(slack()) == 1
    assert (unsent is None) is taken
    if unsent:
        assert unsent.temporary


def test_an_alert_shows_no_secret_of_a_library_s_error(slack, caplog):
    """As of `requests`, whose errors quote the address, or of a driver, which quotes its settings."""
    from catalog.dags.operators.slack import alert_on_failure, alert_on_run_failure

    text = "403 for url: https://me:canary1@example.org/terms.txt?sv=2&sig=canary2 password=canary3"
    with caplog.at_level("DEBUG"):
        alert_on_failure(failed(RuntimeError(text)))
        run = SimpleNamespace(dag_id="flickr_workflow", run_id="manual__1")
        alert_on_run_failure({"reason": text, "dag_run": run})
    found = slack()
    assert len(found) == 2
    assert "403 for url: https://***@example.org/terms.txt?sv=2&amp;sig=***" in found[0]["text"]
    assert "canary" not in f"{found} {caplog.text}"


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_long_message_arrives_shortened_and_is_whole_in_the_log(slack, caplog, size):
    from catalog.dags.operators.slack import FALLBACK, send
    from catalog.notifications.message import Message

    text = "x&amp;" * (size // 6)
    with caplog.at_level("INFO"):
        assert send(Message("Long", "name", "d", alert=True, lines=(text,))) is None
    [found] = slack()
    assert len(found["text"]) <= FALLBACK
    assert text in caplog.text
    shown = [block["text"]["text"] for block in found["blocks"] if block["type"] == "section"]
    assert text.startswith("".join(shown))
    if size < FALLBACK:
        assert "".join(shown) == text
    else:
        assert "more lines are in the log" in found["blocks"][-1]["elements"][0]["text"]


def test_a_run_that_failed_without_a_failed_task_is_linked(slack):
    from catalog.dags.operators.slack import alert_on_run_failure

    run = SimpleNamespace(dag_id="flickr_workflow", run_id="manual__1")
    alert_on_run_failure({"reason": "timed_out", "dag_run": run})
    [found] = slack()
    assert f"<{RUN_URL}|View Run>" in found["text"]
    assert "The run failed: timed_out." in found["text"]


@pytest.mark.parametrize(("status", "sent"), [(200, True), (500, False), (404, False)])
def test_a_refusal_is_told_from_a_setting_that_sends_nothing(slack, httpserver, monkeypatch, status, sent):
    from catalog.dags.operators.slack import try_to_send
    from catalog.notifications.message import Message

    message = Message("Something", "name", "d", alert=True)
    httpserver.clear()
    httpserver.expect_request("/services/T/B/secret").respond_with_data("", status)
    unsent = try_to_send(message)
    assert (unsent is None) is sent
    assert sent or present(unsent).temporary
    monkeypatch.setenv("AIRFLOW_VAR_ENVIRONMENT", "local")
    assert present(try_to_send(message)).temporary is False
