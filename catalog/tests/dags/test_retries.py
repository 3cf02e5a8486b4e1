"""Errors after which a task is attempted again, and when."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.core import errors

pytestmark = pytest.mark.airflow
FINAL = [
    errors.Fatal("a bad key"),
    errors.HttpStatus("not found", 404),
    errors.Fenced("another attempt has taken over"),
    errors.MissingKey("no key"),
    errors.QuotaExhausted("used up", datetime(2026, 12, 1, tzinfo=UTC)),
    errors.Refused("not allowed"),
    errors.NotWhole("45 of 1,000"),
    errors.SkippedErrors("three pages"),
]
LATER = [
    errors.Retry("a time-out"),
    errors.UnexpectedResponse("no list"),
    errors.DetailsAway("the API did not answer for the details of 3 items"),
    errors.Interrupted("a deployment"),
    errors.Later("all hosts are paused", datetime(2026, 12, 1, tzinfo=UTC)),
    OSError("connection reset"),
    KeyError("a bug"),
]


def decision(error):
    from catalog.dags.common.retries import CatalogRetryPolicy

    return CatalogRetryPolicy().evaluate(error, try_number=1, max_tries=2)


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_errors_that_no_attempt_can_fix_are_final(error):
    assert decision(error).action.value == "fail"


@pytest.mark.parametrize("error", LATER, ids=lambda error: type(error).__name__)
def test_other_errors_follow_the_settings_of_the_task(error):
    assert decision(error).action.value == "default"


def test_the_delay_that_a_server_asks_for_is_used():
    found = decision(errors.Retry("busy", retry_after=90))
    assert found.action.value == "retry"
    assert found.retry_delay == timedelta(seconds=90)


@pytest.mark.parametrize("asked", [1e9, 1e300, float("inf")])
def test_a_server_cannot_have_a_task_wait_for_ever(asked):
    assert decision(errors.Retry("busy", retry_after=asked)).retry_delay == timedelta(days=1)


def test_every_class_of_errors_is_listed():
    """A new class of errors, or all its subclasses, must be added to one of the lists above."""
    listed = {type(error) for error in (*FINAL, *LATER)}
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not errors.CatalogError:
            assert any(issubclass(kind, other) or issubclass(other, kind) for other in listed), name


def test_a_hint_is_added_to_errors_of_the_library():
    from catalog.dags.common.retries import hint

    with (
        pytest.raises(errors.Fatal, match=r"^it is gone\. The old index is still live\.$"),
        hint("The old index is still live."),
    ):
        raise errors.Fatal("it is gone.")
    with (
        pytest.raises(errors.Retry, match=r"^it refuses\. The next attempt resumes\.$"),
        hint("The next attempt resumes."),
    ):
        raise errors.Retry("it refuses")
    with pytest.raises(errors.Fatal, match=r"^a bad key$"), hint("The next attempt resumes.", errors.Retry):
        raise errors.Fatal("a bad key")


@pytest.mark.parametrize("dag_id", ["flickr_workflow", "image_data_refresh", "batched_update"])
def test_every_task_has_the_policy(dagbag, dag_id):
    assert all(task.has_retry_policy for task in dagbag.dags[dag_id].tasks)


@pytest.mark.parametrize("kind", [errors.QuotaExhausted, errors.Later])
def test_a_task_that_can_go_on_later_gives_up_its_slot_until_then(kind):
    from airflow.sdk.exceptions import AirflowRescheduleException

    from catalog.dags.common.retries import rescheduled

    resumes_at = datetime(2026, 12, 1, tzinfo=UTC)
    with pytest.raises(AirflowRescheduleException) as raised, rescheduled():
        raise kind("a pause", resumes_at)
    assert raised.value.reschedule_date == resumes_at
    with pytest.raises(errors.Interrupted), rescheduled():
        raise errors.Interrupted("a deployment")
