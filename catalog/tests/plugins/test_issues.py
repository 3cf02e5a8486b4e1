"""States of issues that are looked up in the background."""

import threading

import pytest

from catalog.maintenance.silenced import MISSING, NO_ISSUE
from catalog.plugins.dashboard.issues import UNKNOWN, Issues
from catalog.tests.waiting import until

pytestmark = pytest.mark.airflow
ISSUE = "https://localhost/owner/name/issues/1"


def test_states_of_issues_never_keep_the_page_waiting():
    answer, asked = threading.Event(), threading.Event()
    clock = [0.0]

    def look_up(url):
        asked.set()
        answer.wait(10)
        if url == "bad":
            raise ValueError
        return "closed"

    issues = Issues(look_up, lambda: clock[0])
    assert issues.state("good") == "not known yet"
    assert asked.wait(10)
    assert issues.state("good") == "not known yet"
    answer.set()
    until(lambda: issues.state("good") == "closed")
    until(lambda: issues.state("bad") == "unknown, because it could not be looked up (ValueError)")
    clock[0] = 1000.0
    assert issues.state("good") == "closed"


def test_a_state_stays_while_the_issue_cannot_be_looked_up():
    clock, answers, asked = [0.0], iter(["closed"]), []

    def look_up(url):
        asked.append(url)
        return next(answers)  # raises at the second look-up

    issues = Issues(look_up, lambda: clock[0])
    until(lambda: issues.state("x") == "closed")
    clock[0] = 1000.0
    assert issues.state("x") == "closed"
    until(lambda: len(asked) == 2)
    until(lambda: not any(thread.name.startswith("issue") for thread in threading.enumerate()))
    assert issues.state("x") == "closed"


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("status", "body", "url", "state", "is_stale"),
    [
        (200, '{"state": "open"}', ISSUE, "open", False),
        (200, '{"state": "closed"}', ISSUE, "closed", True),
        (404, "{}", ISSUE, MISSING, True),
        (200, "{}", "https://example.org", NO_ISSUE, True),
        (200, "{}", ISSUE, "unknown, because it could not be looked up (UnexpectedResponse)", False),
        (401, "{}", ISSUE, "unknown, because it could not be looked up (Fatal)", False),
        (429, "{}", ISSUE, "unknown, because it could not be looked up (Retry)", False),
        (503, "", ISSUE, "unknown, because it could not be looked up (Unclear)", False),
    ],
)
def test_an_entry_is_stale_only_if_github_says_so(
    httpserver, monkeypatch, status, body, url, state, is_stale
):
    """The placeholder of a token is not sent: GitHub would refuse it even for public issues."""
    from catalog.plugins.dashboard.health import Silenced, stale
    from catalog.plugins.dashboard.issues import _state_of

    httpserver.expect_request("/repos/owner/name/issues/1").respond_with_data(body, status)
    monkeypatch.setenv("AIRFLOW_VAR_GITHUB_API_URL", httpserver.url_for("").rstrip("/"))
    monkeypatch.setenv("AIRFLOW_VAR_GITHUB_API_KEY", "not_set")
    issues = Issues(_state_of)
    until(lambda: issues.state(url) != UNKNOWN)
    assert issues.state(url) == state
    entry = Silenced("SKIPPED_INGESTION_ERRORS", "flickr_workflow", "p", url, state)
    assert bool(stale([entry])) is is_stale
    assert all("Authorization" not in request.headers for request, _ in httpserver.log)
