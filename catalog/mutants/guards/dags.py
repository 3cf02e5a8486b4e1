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
