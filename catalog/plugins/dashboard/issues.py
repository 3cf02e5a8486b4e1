"""States of GitHub issues, which are looked up in the background, so that no page waits for them."""

import threading
import time
from collections.abc import Callable

from catalog.core.secrets import Secret
from catalog.core.setting_values import GITHUB_API
from catalog.core.settings import GITHUB_API_KEY, GITHUB_API_URL
from catalog.maintenance.github import GitHub
from catalog.maintenance.silenced import issue_state
from catalog.plugins.dashboard.variables import value_of

UNKNOWN = "not known yet"
_UNANSWERED = "unknown, because it could not be looked up"
RENEWED = 600.0  # seconds after which a state is looked up again


class Issues:
    """States of issues.

    Args:
        look_up: Returns the state of the issue at a URL, or raises.
        clock: Returns seconds.
    """

    def __init__(self, look_up: Callable[[str], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up, self._clock = look_up, clock
        self._states: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def state(self, url: str) -> str:
        """Return the state at the last look-up that was answered, or in words why there is none."""
        with self._lock:
            when, state = self._states.get(url, (0.0, UNKNOWN))
            if url not in self._states or self._clock() - when > RENEWED:
                self._states[url] = (self._clock(), state)
                threading.Thread(target=self._renew, args=(url,), name="issue", daemon=True).start()
        return state

    def _renew(self, url: str) -> None:
        try:
            state = self._look_up(url)
        except Exception as problem:
            state = f"{_UNANSWERED} ({type(problem).__name__})"
        with self._lock:
            before = self._states[url][1]
            if state.startswith(_UNANSWERED) and before != UNKNOWN:
                state = before
            self._states[url] = (self._clock(), state)


def _state_of(url: str) -> str:
    token = value_of(GITHUB_API_KEY, [])
    return issue_state(
        GitHub(Secret(token) if token else None, value_of(GITHUB_API_URL, []) or GITHUB_API), url
    )


issues = Issues(_state_of)
