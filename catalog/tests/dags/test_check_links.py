"""What the form of `check_links` tells and refuses, and which of its tasks fails."""

from contextlib import nullcontext
from types import SimpleNamespace

import msgspec
import pytest

from catalog.core.errors import Fatal, Refused
from catalog.tests.links.checks import Checks

pytestmark = pytest.mark.airflow


def form(dagbag, **given):
    return {name: value.value for name, value in dagbag.dags["check_links"].params.items()} | given


def test_the_form_says_how_many_records_a_margin_takes(dagbag):
    text = dagbag.dags["check_links"].params.get_param("margin").description
    assert "1: 9,604, 3: 1,068, 5: 385" in (text or dagbag.dags["check_links"].doc_md)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"provider": None, "mark": True}, "accept_removals: it needs a provider"),
        ({"provider": "met", "mark": False}, "accept_removals: without mark, nothing is removed"),
    ],
)
def test_an_acceptance_of_nothing_in_particular_is_refused(dagbag, monkeypatch, given, message):
    from catalog.dags import check_links as module

    monkeypatch.setattr(module, "FirstTime", lambda: nullcontext(False))
    with pytest.raises(Refused, match=message):
        module.choose.function(form(dagbag, accept_removals=True, **given), SimpleNamespace(run_id="run"))


@pytest.mark.database
def test_a_task_that_would_remove_far_more_than_usual_fails(catalog, dsn, dagbag, monkeypatch):
    from catalog.dags import check_links as module

    written = []
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    monkeypatch.setattr(module, "note_written", lambda asset, **values: written.append(values))
    checks = Checks(catalog, rows=100)
    for run, when in enumerate((0, 14, 28)):
        checks.found(str(run), when, outcomes=dict.fromkeys(range(31, 43), "gone"), mark=False)
    catalog.execute("""
        update link_check set checked_on = checked_on + age
          from (select now() - max(checked_on) as age from link_check) since
    """)
    catalog.execute("update link_survey set planned_on = now()")
    survey = msgspec.to_builtins(checks.survey("2"))

    def judge(**given):
        module.judge.function(survey, form(dagbag, **given), SimpleNamespace(conf=given))
        return len(checks.marked())

    assert judge(mark=False) == 0
    match = "12 records would be removed because their files are gone: 12.0% of 100, where at most 10% a year"
    with pytest.raises(Fatal, match=match):
        judge()
    assert written == []
    monkeypatch.setenv("AIRFLOW_VAR_LINK_CHECK_MOST_REMOVED", "11")
    with pytest.raises(Fatal, match="at most 11% a year"):
        judge()
    assert judge(provider="made_up", accept_removals=True) == 12
    assert written == [{"provider": "made_up", "removed": 12, "back": 0}]
    assert judge() == 12
