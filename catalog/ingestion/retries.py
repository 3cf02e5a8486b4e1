"""The retry policy of requests: when to retry, how long to wait, and when to give up."""

import math
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec
import tenacity

from catalog.core.errors import Retry

T = TypeVar("T")


class RetryPolicy(msgspec.Struct, frozen=True):
    """The limits of a request's attempts.

    Attributes:
        attempts: Maximum number of attempts, including the first.
        budget: Seconds after the start of the first attempt, after which no other begins.
        max_wait: Maximum wait in seconds that a server can impose before an attempt.
        sleep: Waits the given number of seconds.
    """

    attempts: int
    budget: float
    max_wait: float
    sleep: Callable[[float], None]

    def run(self, once: Callable[[], T], failed: Callable[[int, BaseException | None], None]) -> T:
        """Call a function, again as long as it raises Retry, and return its result.

        Args:
            once: Makes one attempt.
            failed: Called with the number of a failed attempt and its error, before the wait that follows.

        Raises:
            Retry: The error of the last attempt; the message says how many there were, and whether the budget
                was exhausted.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Retry),
            stop=tenacity.stop_after_attempt(self.attempts) | tenacity.stop_before_delay(self.budget),
            wait=self._wait,
            sleep=self.sleep,
            before_sleep=lambda state: failed(state.attempt_number, _error_of(state)),
            reraise=True,
        )
        try:
            return retrying(once)
        except Retry as error:
            error.args = (self._given_up(retrying.statistics["attempt_number"], error),)
            raise

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        if isinstance(error, Retry) and error.retry_after is not None:
            return min(error.retry_after, self.max_wait)
        jitter = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return min(2.0 ** (state.attempt_number - 1), 60.0) * jitter

    def _given_up(self, number: int, error: Retry) -> str:
        attempts = "1 attempt" if number == 1 else f"{number} attempts"
        early = number < self.attempts
        why = f", as another one would exceed the {self.budget:g} s for a request" if early else ""
        return f"gave up after {attempts}{why}: {error}"


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return what the header Retry-After of an answer asks for, in seconds or as an HTTP date.

    Args:
        headers: The headers; their names in any case.

    Returns:
        Seconds, at least 0; None if the header is missing or malformed.
    """
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, headers.get("date", ""))
    return None if math.isnan(seconds) else max(0.0, seconds)


def _seconds_until(date: str, answered: str) -> float:
    """Return the seconds until an HTTP date; NaN if the string is not a date.

    Args:
        date: The date.
        answered: That of the answer, by the same clock; this machine's clock may be another one. Without it,
            the time is that of this machine.
    """
    when, now = _moment(date), _moment(answered) or datetime.now(UTC)
    return (when - now).total_seconds() if when else math.nan


def _moment(date: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo else None
