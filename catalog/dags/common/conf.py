"""The checks of a conf that Airflow's Params do not make."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from catalog.ingestion.windows import FIRST_DAY

# The end of a Param's pattern. In Python, `$` alone also matches before a final line break.
END = r"$(?!\n)"


def check_conf(conf: Mapping[str, Any] | None, known: Any) -> None:
    """Refuse what Airflow accepts at the trigger.

    Args:
        conf: The conf of the run.
        known: The DAG's `params`.

    Raises:
        AirflowFailException: A key is unknown; an integer is written with a decimal point (JSON Schema takes
            5.0 for an integer, Python does not); a day is before 1970 or to come; or a key makes another one
            meaningless.
    """
    conf = conf or {}
    if unknown := sorted(set(conf) - set(known)):
        keys = f"this DAG knows {', '.join(sorted(known))}" if known else "this DAG takes none"
        raise AirflowFailException(f"conf: unknown key {', '.join(map(repr, unknown))}; {keys}.")
    for key, value in conf.items():
        if isinstance(value, float) and "number" not in known.get_param(key).schema["type"]:
            raise AirflowFailException(f"conf: {key} is {value}; write it without a decimal point.")
        if value and known.get_param(key).schema.get("format") == "date":
            _check_day(key, date.fromisoformat(value), replayed=bool(conf.get("replay")))
    if conf.get("initial_query_params") and conf.get("query_params_list"):
        raise AirflowFailException(
            "conf: initial_query_params would be ignored, because query_params_list names all that is "
            "requested; give only one of them."
        )


def _check_day(key: str, day: date, *, replayed: bool) -> None:
    """Refuse a day that no pull can have; a recording may be of any."""
    today = datetime.now(UTC).date()
    if day < FIRST_DAY:
        raise AirflowFailException(f"conf: {key} is {day}; give a day from {FIRST_DAY} on.")
    if day > today and not replayed:
        raise AirflowFailException(f"conf: {key} is {day}, which is to come; give a day until {today}.")
