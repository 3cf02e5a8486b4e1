"""States of issues that are looked up in the background."""

import threading

import pytest

from catalog.plugins.dashboard.issues import Issues
from catalog.tests.waiting import until

pytestmark = pytest.mark.airflow


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
