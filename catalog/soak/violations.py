"""What oracles return: violations of what must hold, each with the name of its oracle."""

from typing import Literal, NamedTuple

Oracle = Literal[
    "content", "keys", "accounts", "requests", "leftovers", "secrets", "states", "readers", "stack"
]
ORACLES: dict[Oracle, str] = {
    "content": "tables and indexes match the reference",
    "keys": "no key occurs twice",
    "accounts": "the counts of each report add up",
    "requests": "at most one page is requested again after a kill",
    "leftovers": "no table, index, file, lock or statement is left over",
    "secrets": "the canary occurs nowhere",
    "states": "states of runs are true",
    "readers": "readers see consistent states",
    "stack": "the local stack keeps running",
}


class Violation(NamedTuple):
    """Something that must not be."""

    oracle: Oracle
    message: str


Violations = list[Violation]
