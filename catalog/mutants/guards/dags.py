"""DAGs and messages; and this list itself."""

from catalog.mutants.guard import Guard

GUARDS = (
    Guard(
        name="nobody-is-called",
        holds="Foreign text in a message is neither a mention nor a link.",
        row=30,
        file="catalog/notifications/messages.py",
        find='    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")\n',
        replace="    return str(text)\n",
        tests=("notifications/test_notifications.py::test_failures_cannot_call_people",),
    ),
    Guard(
        name="red-when-anything-failed",
        holds="A report that runs after a failure does not turn the run green.",
        row=14,
        file="catalog/dags/dag_factory.py",
        find='            if str(state) in ("failed", "upstream_failed") and t != CONCLUSION\n',
        replace='            if str(state) in ("upstream_failed",) and t != CONCLUSION\n',
        tests=("dags/test_conclusion.py::test_a_failure_anywhere_makes_the_run_red",),
    ),
    Guard(
        name="conclusion-comes-last",
        holds="A run is not concluded before all of its tasks have ended.",
        row=14,
        file="catalog/dags/dag_factory.py",
        find="    leaves = [t for t in dag.tasks if not t.downstream_task_ids]\n",
        replace="    leaves = [t for t in dag.tasks if not t.downstream_task_ids][:1]\n",
        tests=("dags/test_conclusion.py::test_the_conclusion_comes_last_and_always",),
    ),
    Guard(
        name="public-airflow-only",
        holds="DAG files use what Airflow promises to keep, and what a worker may use.",
        row=38,
        file="catalog/dags/oauth2.py",
        find="from airflow.sdk import task\n",
        replace="from airflow.models import DagRun  # noqa: F401\nfrom airflow.sdk import task\n",
        tests=("test_house.py::test_dags_use_the_task_sdk_only",),
    ),
    Guard(
        name="list-stays-true",
        holds="An entry of this list whose piece of source has changed is refused.",
        row=40,
        file="catalog/mutants/guard.py",
        find="        if (found := source.count(self.find)) != 1:\n",
        replace="        if (found := source.count(self.find)) < 0:\n",
        tests=("test_mutants.py::test_an_entry_that_is_not_true_any_more_is_refused",),
    ),
    Guard(
        name="tests-that-run",
        holds="Tests that cannot run have noticed nothing.",
        row=40,
        file="catalog/mutants/trial.py",
        find="    if status == _FAILED and failed:\n",
        replace="    if status != _PASSED:\n",
        tests=("test_mutants.py::test_tests_that_cannot_run_notice_nothing",),
    ),
)
