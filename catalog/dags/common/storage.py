"""Object stores: of the TSV parts, and of the dataset."""

from typing import Any, cast

from airflow.sdk import ObjectStoragePath, conf
from airflow.sdk.exceptions import AirflowFailException
from upath import UPath

from catalog.core.setting import Setting
from catalog.core.settings import DATASET_STORAGE, OBJECT_STORAGE
from catalog.dags.common.variables import value_of


def storage() -> UPath:
    """Root of the TSV parts: the Variable OBJECT_STORAGE, for example `s3://aws_default@bucket/prefix`."""
    return _root(OBJECT_STORAGE, "s3://aws_default@bucket/tsv")


def dataset_storage() -> UPath:
    """Root of the dataset: the Variable DATASET_STORAGE, for example `s3://aws_default@bucket/dataset`."""
    return _root(DATASET_STORAGE, "s3://aws_default@bucket/dataset")


def _root(setting: Setting[Any], example: str) -> UPath:
    """Return the root that a Variable names.

    A file:// root works on one machine only, so it is refused with executors that run tasks elsewhere.
    """
    root = value_of(setting)
    if not root:
        raise AirflowFailException(
            f"the Variable {setting.name} is not set; give it a root such as {example}, or file:///… if all "
            "tasks run on one machine."
        )
    return stored_at(root, setting.name)


def stored_at(url: str, name: str) -> UPath:
    """Return the path of a URL: `s3://aws_default@bucket/…`, or `file://…` if all tasks run on one machine.

    Args:
        url: The URL.
        name: The setting or field that it is from, for messages.
    """
    if url.startswith("file:") and (remote := _remote_executors()):
        raise AirflowFailException(
            f"{name} is {url}, which other machines do not see, but the executor is {remote}; use s3://."
        )
    return cast(UPath, ObjectStoragePath(url))  # it behaves as one


def _remote_executors() -> str:
    executors = conf.get("core", "executor").split(",")
    return ", ".join(e for e in executors if "Local" not in e and "Sequential" not in e)
