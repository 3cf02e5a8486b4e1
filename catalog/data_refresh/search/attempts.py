"""What an attempt at long work gets from its task: the state of the one before, and when to stop."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

_T = TypeVar("_T")


class Attempt(NamedTuple):
    """An attempt at work that the next one can resume.

    Attributes:
        load: Loads the state of an earlier attempt; empty or None if there is none.
        save: Saves the state.
        should_stop: Called between two steps; the work is interrupted if it returns True.
        report: Called with the number of documents so far.
    """

    load: Callable[[], Mapping[str, Any] | None] = lambda: None
    save: Callable[[dict[str, Any]], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    report: Callable[[int], object] = lambda _: None

    def resumed(self, kind: type[_T]) -> _T | None:
        """Return the state of an earlier attempt; None if there is none, or if another release saved it."""
        if not (stored := self.load()):
            return None
        try:
            return msgspec.convert(stored, kind)
        except msgspec.ValidationError:
            return None


ONLY = Attempt()  # nothing is saved, and nobody asks to stop
