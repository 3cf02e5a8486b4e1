"""The Variables of the local stack, as its tasks read them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from catalog.core.settings import airflow_variable
from catalog.local.lifecycle import StackError
from catalog.local.stack import Stack

SECONDS = 120  # for Airflow's command line to start, on a busy machine


def value_of(name: str, stored: Mapping[str, str]) -> str | None:
    """Return the value of a Variable; None if it is not set.

    Args:
        name: Its name.
        stored: Values in Airflow's database by name. The environment takes precedence, even if the value is
            empty there.
    """
    return os.environ.get(airflow_variable(name), stored.get(name))


def stored_variables(stack: Stack) -> dict[str, str]:
    """Return the Variables of Airflow's database, by name.

    Airflow's command line decrypts them, while its REST API shows keys as `***`.

    Raises:
        StackError: The command fails.
    """
    command = [str(Path(sys.executable).parent / "airflow"), "variables", "export", "-"]
    try:
        done = subprocess.run(
            command, env=stack.environment(), capture_output=True, timeout=SECONDS, check=True
        )
        found = msgspec.json.decode(done.stdout, type=dict[str, Any])
    except (subprocess.SubprocessError, msgspec.DecodeError):  # their messages may quote values
        raise StackError("`airflow variables export` failed; see ./just logs") from None
    return {name: _value(exported) for name, exported in found.items()}


def _value(exported: Any) -> str:
    """Return the stored string of a Variable, which is exported beside its description if it has one."""
    if isinstance(exported, dict) and exported.keys() == {"value", "description"}:
        exported = exported["value"]
    return exported if isinstance(exported, str) else json.dumps(exported)
