"""The checks of a conf that Airflow's Params do not make."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

# The end of a Param's pattern. In Python, `$` alone also matches before a final line break.
END = r"$(?!\n)"


def check_conf(conf: Mapping[str, Any] | None, known: Any) -> None:
    """Refuse what Airflow accepts at the trigger.

    Args:
        conf: The conf of the run.
        known: The DAG's `params`.

    Raises:
        AirflowFailException: A key is unknown, or an integer is written with a decimal point. JSON Schema
            takes 5.0 for an integer; Python does not.
    """
    conf = conf or {}
    if unknown := sorted(set(conf) - set(known)):
        keys = f"this DAG knows {', '.join(sorted(known))}" if known else "this DAG takes none"
        raise AirflowFailException(f"conf: unknown key {', '.join(map(repr, unknown))}; {keys}.")
    for key, value in conf.items():
        if isinstance(value, float) and "number" not in known.get_param(key).schema["type"]:
            raise AirflowFailException(f"conf: {key} is {value}; write it without a decimal point.")
