"""When a request is tried again, how long is waited in between, and when that ends."""

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec
import tenacity

from catalog.core.errors import Retry

T = TypeVar("T")


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how long a request is tried.

    Attributes:
        tries: All of them, the first included.
        budget: Seconds from the first try after which no other one begins.
        max_wait: Seconds that a server may have us wait before one try.
        sleep: Waits for that many seconds.
    """

    tries: int
    budget: float
    max_wait: float
    sleep: Callable[[float], None]

    def run(self, once: Callable[[], T], failed: Callable[[int, BaseException | None], None]) -> T:
        """What `once` returns, tried again for as long as it raises Retry.

        Args:
            once: One try.
            failed: Called with the number of a try and its error, before the wait that follows it.

        Raises:
            Retry: The error of the last try, whose text says how many there were, and whether time ran out.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Retry),
            stop=tenacity.stop_after_attempt(self.tries) | tenacity.stop_before_delay(self.budget),
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

    def _given_up(self, tries: int, error: Retry) -> str:
        times = "1 try" if tries == 1 else f"{tries} tries"
        why = (
            ""
            if tries == self.tries
            else f", as another one would exceed the {self.budget:g} s for a request"
        )
        return f"gave up after {times}{why}: {error}"


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or an HTTP date.

    Returns:
        At least 0; None when the header is absent or unreadable.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return None if math.isnan(seconds) else max(0.0, seconds)


def _seconds_until(date: str) -> float:
    """Seconds from now until an HTTP date; not a number when it is none."""
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return math.nan
    return (when - datetime.now(UTC)).total_seconds() if when.tzinfo else math.nan
