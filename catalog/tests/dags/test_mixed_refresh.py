"""Tasks of a refresh notice that another release has begun it."""

import psycopg
import pytest

from catalog.data_refresh import basis
from catalog.data_refresh.refresh import begin, read
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.airflow, pytest.mark.database]


@pytest.mark.parametrize("other", [True, False])
def test_a_task_notes_that_its_code_is_not_that_of_the_plan(catalog, dsn, monkeypatch, other):
    from catalog.dags.groups import refreshes

    mine = turn(catalog)
    begin(catalog, mine, plan(inputs="inputs", code="another" if other else basis.code()))
    monkeypatch.setattr(refreshes, "catalog_connection", lambda **options: psycopg.connect(dsn, **options))
    monkeypatch.setattr(refreshes, "current_turn", lambda _: mine)
    assert refreshes.current_refresh("working").plan.mixed is other
    assert read(catalog, mine).plan.mixed is other
