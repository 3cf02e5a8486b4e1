"""Settings that DAG files read while they are parsed, and alerts: reading one never fails or alerts."""

import logging
import os
from typing import TypeVar

from airflow.sdk import Variable

from catalog.core.setting import Setting

log = logging.getLogger(__name__)
T = TypeVar("T")
parse_problems: dict[str, str] = {}  # name → what was malformed when this process parsed a DAG file


def value_or_default(setting: Setting[T]) -> tuple[T, str | None]:
    """Return the value of a Variable and what is malformed about it; for alerts, which must not fail."""
    try:
        return setting.decode(Variable.get(setting.name, default=None))
    except Exception as error:  # the secrets backend is unavailable, the value cannot be decrypted, …
        return setting.value, f"{setting.name} could not be read: {type(error).__name__}."


def when_parsed(setting: Setting[T]) -> T:
    """Return the value of a Variable while a DAG file is parsed; tasks report a malformed one later."""
    return _noted(setting, *value_or_default(setting))


def environment(setting: Setting[T]) -> T:
    """Return the value of an environment variable; tasks report a malformed one later."""
    return _noted(setting, *setting.decode(os.environ.get(setting.name)))


def _noted(setting: Setting[T], value: T, problem: str | None) -> T:
    if problem:
        log.error("%s", problem)
        parse_problems[setting.name] = problem
    else:
        parse_problems.pop(setting.name, None)
    return value
