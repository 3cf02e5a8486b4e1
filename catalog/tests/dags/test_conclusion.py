"""A run is red when anything in it failed, although reports run after failures."""

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.airflow


@pytest.fixture
def dag():
    """Two branches that end in tasks of their own, one of which runs whatever happens."""
    from airflow.sdk import task

    from catalog.dags.dag_factory import REGISTRY, catalog_dag

    def nothing():
        pass

    with catalog_dag("tried", "other", schedule=None, doc="") as dag:
        work, report = task(task_id="work"), task(task_id="report", trigger_rule="all_done")
        work(nothing)() >> report(nothing)()
        task(task_id="beside")(nothing)()
    yield dag
    del REGISTRY["tried"]


def concluded(dag, states):
    run = SimpleNamespace(dag_id="tried", run_id="r")
    ti = SimpleNamespace(get_task_states=lambda dag_id, run_ids: {"r": states})
    return dag.get_task("conclude").python_callable(ti=ti, dag_run=run)


def test_the_conclusion_comes_last_and_always(dag):
    conclude = dag.get_task("conclude")
    assert conclude.upstream_task_ids == {"report", "beside"}
    assert conclude.trigger_rule == "all_done"


@pytest.mark.parametrize("state", ["failed", "upstream_failed"])
def test_a_failure_anywhere_makes_the_run_red(dag, state):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r": work$"):
        concluded(dag, {"work": state, "report": "success", "beside": "skipped", "conclude": "running"})


def test_without_failures_it_is_green(dag):
    concluded(dag, {"work": "success", "report": "success", "beside": "skipped", "conclude": "running"})
