"""The object store that holds TSV parts."""

from typing import cast

from airflow.sdk import ObjectStoragePath, conf
from airflow.sdk.exceptions import AirflowFailException
from upath import UPath

from catalog.core.settings import OBJECT_STORAGE
from catalog.dags.common.variables import value_of


def storage() -> UPath:
    """Root of the TSV parts: the Variable OBJECT_STORAGE, for example `s3://aws_default@bucket/prefix`.

    A file:// root works on one machine only, so it is refused with executors that run tasks elsewhere.
    """
    root = value_of(OBJECT_STORAGE)
    if not root:
        raise AirflowFailException(
            "the Variable OBJECT_STORAGE is not set; give it a root such as s3://aws_default@bucket/tsv."
        )
    return stored_at(root, "OBJECT_STORAGE")


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
