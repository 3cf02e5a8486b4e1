"""A run fails when any of its tasks fails, although reports run after failures."""

import pytest

pytestmark = pytest.mark.airflow


@pytest.fixture
def dag():
    """A DAG with two branches; the last task of one of them runs also after failures."""
    from airflow.sdk import task

    from catalog.dags.dag_factory import REGISTRY, catalog_dag

    def nothing():
        pass

    with catalog_dag("watched", "other", schedule=None, doc="") as dag:
        work, report = task(task_id="work"), task(task_id="report", trigger_rule="all_done")
        work(nothing)() >> report(nothing)()
        task(task_id="parallel")(nothing)()
    yield dag
    del REGISTRY["watched"]


def test_every_task_is_watched(dag):
    assert dag.get_task("watcher").upstream_task_ids == {"work", "report", "parallel"}


def test_it_runs_only_after_a_failure(dag):
    watcher = dag.get_task("watcher")
    assert watcher.trigger_rule == "one_failed"
    assert not watcher.retries
    assert not watcher.on_failure_callback  # the failed task has sent an alert


def test_it_fails(dag):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException):
        dag.get_task("watcher").python_callable()


def test_a_single_task_needs_none():
    from airflow.sdk import task

    from catalog.dags.dag_factory import REGISTRY, catalog_dag

    with catalog_dag("unwatched", "other", schedule=None, doc="") as dag:
        task(task_id="work")(lambda: None)()
    del REGISTRY["unwatched"]
    assert dag.task_ids == ["work"]
