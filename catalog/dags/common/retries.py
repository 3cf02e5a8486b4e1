"""Which errors of the library are worth another attempt of the task."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from airflow.sdk import Context, RetryDecision, RetryPolicy
from airflow.sdk.exceptions import AirflowRescheduleException

from catalog.core.errors import (
    CatalogError,
    DetailsAway,
    Fatal,
    Later,
    QuotaExhausted,
    Refused,
    Retry,
    SkippedErrors,
)

log = logging.getLogger(__name__)
LONGEST = 86_400.0  # seconds that a server can have a task wait


class CatalogRetryPolicy(RetryPolicy):
    """Fails a task at once if another attempt cannot succeed, and waits as long as a server asked for.

    All other errors, also of Airflow and of other libraries, follow the task's `retries` and `retry_delay`.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        if isinstance(exception, DetailsAway):  # the next attempt reads the pages of these items again
            return RetryDecision.default()
        if isinstance(exception, (Fatal, Refused, SkippedErrors)):
            return RetryDecision.fail(f"{type(exception).__name__}: another attempt cannot succeed")
        if isinstance(exception, Retry) and exception.retry_after:
            return RetryDecision.retry(
                timedelta(seconds=min(exception.retry_after, LONGEST)), "the server asked to wait"
            )
        return RetryDecision.default()


@contextmanager
def hint(text: str, *kinds: type[Exception]) -> Iterator[None]:
    """Add a sentence to errors of the library: what to do next, or what is unchanged.

    Args:
        text: The sentence.
        kinds: Kinds of errors; all of the library's by default.
    """
    try:
        yield
    except (CatalogError, Refused) as error:
        if not kinds or isinstance(error, kinds):
            said = str(error)
            error.args = (f"{said}{'' if said.endswith(('.', ';')) else '.'} {text}", *error.args[1:])
        raise


@contextmanager
def rescheduled() -> Iterator[None]:
    """Give up the worker slot until the time that an error names. That costs no attempt of the task."""
    try:
        yield
    except (QuotaExhausted, Later) as error:
        log.warning("WAITING: %s", error)
        raise AirflowRescheduleException(error.resumes_at) from None  # type: ignore[no-untyped-call]
