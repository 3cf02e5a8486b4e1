"""A run that is refused is named with its reason, by commands and on the dashboard."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from catalog.core.airflow_names import ADDRESS
from catalog.local.views import show_failed_runs
from catalog.monitoring import failed_runs

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
WHY = "mode: full cannot be combined with index_only, which builds new indexes from the live tables."


def test_status_says_why_the_newest_run_failed(bench, capsys):
    run_id, state = bench.run("image_data_refresh", {"mode": "full", "index_only": True})
    assert state == "failed"
    environment = bench.stack.environment()
    found = failed_runs.of_database(environment[ADDRESS], 5, datetime.now(UTC))
    failed = found["image_data_refresh", run_id]
    assert failed.text.startswith("the newest run failed in check_configuration on 2")
    assert f": {WHY} Give only one of the two." in failed.text
    program = Path(sys.executable).parent / "catalog"
    shown = subprocess.run([program, "status", "--json"], env=environment, capture_output=True, text=True)
    assert (shown.returncode, WHY in shown.stdout) == (1, True)
    show_failed_runs(environment[ADDRESS])  # of ./just status
    assert f"image_data_refresh: {failed.text}" in " ".join(capsys.readouterr().out.split())
