"""Airflow's Variables, from the metadata database, which the API server may read and a task may not."""

from typing import TypeVar, cast

from upath import UPath

from catalog.core.setting import Setting
from catalog.core.settings import OBJECT_STORAGE

T = TypeVar("T")


def value_of(setting: Setting[T], problems: list[str]) -> T:
    """Return the value of a Variable, and add its malformed entries to the problems. Raises Malformed."""
    value, problem = setting.decode(_stored(setting.name))
    if problem:
        problems.append(problem)
    return value


def is_set(variable: str) -> bool:
    """Return whether a Variable has a value."""
    return bool(_stored(variable))


def _stored(variable: str) -> str | None:
    from airflow.models import Variable

    found: str | None = Variable.get(variable, default_var=None)
    return found


def storage() -> UPath:
    """Return the root of the TSV parts. Raises Malformed if it is not set."""
    from airflow.sdk import ObjectStoragePath

    return cast(UPath, ObjectStoragePath(value_of(OBJECT_STORAGE, [])))  # it behaves as one
