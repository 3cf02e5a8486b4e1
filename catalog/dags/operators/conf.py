"""What a run may be triggered with. Airflow's Params refuse most of what is wrong at the trigger; this is the rest."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

# Ends the pattern of a Param. A mere `$` lets a line break follow, in Python; in browsers both mean the same.
END = r"$(?!\n)"


def check_conf(conf: Mapping[str, Any] | None, known: Any) -> None:
    """Fail, without retries, on what Airflow lets through.

    Args:
        conf: As the run was triggered.
        known: The DAG's `params`.

    Raises:
        AirflowFailException: A key is unknown, or a whole number is written with a decimal point (to JSON Schema, 5.0 is one; to Python
            it is none).
    """
    conf = conf or {}
    if unknown := sorted(set(conf) - set(known)):
        keys = f"this DAG knows {', '.join(sorted(known))}" if known else "this DAG takes none"
        raise AirflowFailException(f"conf: unknown key {', '.join(map(repr, unknown))}; {keys}.")
    for key, value in conf.items():
        if isinstance(value, float) and "number" not in known.get_param(key).schema["type"]:
            raise AirflowFailException(f"conf: {key} is {value}; write it without a decimal point.")
