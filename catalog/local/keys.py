"""The keys of the local stack: their values, and whether the APIs accept them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from catalog.core.secrets import ApiKey, Secret
from catalog.core.settings import CONTACT_EMAIL, PRIVATE_HOSTS
from catalog.ingestion.key_check import Answer, ask
from catalog.ingestion.provider import Provider, provider_classes
from catalog.local.lifecycle import StackError
from catalog.local.stack import Stack

SECONDS = 120  # for Airflow's command line to start, on a busy machine


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
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def answers(variables: Mapping[str, str]) -> Iterator[tuple[ApiKey, type[Provider], Answer]]:
    """Ask each API whose key is set whether it accepts the key; all at once, as each has its own limits.

    Args:
        variables: Values in Airflow's database by name; the environment takes precedence.
    """

    def value_of(name: str) -> str | None:
        return os.environ.get(f"AIRFLOW_VAR_{name}", variables.get(name))

    contact, _ = CONTACT_EMAIL.decode(value_of(CONTACT_EMAIL.name))
    private_hosts, _ = PRIVATE_HOSTS.decode(value_of(PRIVATE_HOSTS.name))
    with ThreadPoolExecutor() as pool:
        asked = [
            (key, cls, pool.submit(ask, cls, Secret(value), contact=contact, private_hosts=private_hosts))
            for cls in provider_classes()
            if (key := cls.key) and (value := value_of(key.variable))
        ]
        for key, cls, answer in asked:
            yield key, cls, answer.result()
