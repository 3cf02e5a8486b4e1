"""The summary of the DAGs that tests have run through the scheduler."""

from typing import Any

import orjson
import pytest

from catalog.core.jsontypes import JsonObject

RUNS = pytest.StashKey[list[JsonObject]]()


def send(config: pytest.Config) -> None:
    """Pass the runs on from the process that has run the tests."""
    if (output := getattr(config, "workeroutput", None)) is not None:
        output["dag_runs"] = orjson.dumps(config.stash.get(RUNS, []), default=str).decode()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive the runs, and add them to those of another stack."""
    found = {row["dag_id"]: row for row in node.config.stash.get(RUNS, [])}
    for row in orjson.loads(getattr(node, "workeroutput", {}).get("dag_runs", "[]")):
        other = found.get(row["dag_id"], {"runs": 0, "succeeded": 0, "seconds": None})
        found[row["dag_id"]] = {
            "dag_id": row["dag_id"],
            "runs": row["runs"] + other["runs"],
            "succeeded": row["succeeded"] + other["succeeded"],
            "seconds": max(float(one["seconds"] or 0) for one in (row, other)),
        }
    node.config.stash[RUNS] = sorted(found.values(), key=lambda row: str(row["dag_id"]))


def summarize(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report which DAGs the tests have run; with -v, each of them. Held scheduled runs do not count."""
    if not (found := config.stash.get(RUNS, [])):
        return
    missing = [row["dag_id"] for row in found if not row["succeeded"]]
    terminalreporter.section("DAGs run through the scheduler")
    if config.get_verbosity() > 0:
        for row in found:
            runs = f"{row['succeeded']:4} of {row['runs']:3} successful"
            terminalreporter.line(f"{row['dag_id']:45}{runs}, longest {float(row['seconds'] or 0):6.1f} s")
    named = f" Not: {', '.join(missing)}." if 0 < len(missing) < 10 else ""
    terminalreporter.line(f"{len(found) - len(missing)} of {len(found)} succeeded at least once.{named}")
