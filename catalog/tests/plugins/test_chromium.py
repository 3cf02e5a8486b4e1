"""A run of the tests on a machine without Chromium says so at its end."""

import os
import subprocess
import sys

import pytest

from catalog.local.stack import ROOT


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_summary_says_how_to_get_a_browser(processes):
    """In one process, and with the tests in another one."""
    module = "catalog/tests/plugins/test_browser.py"
    command = [sys.executable, "-m", "pytest", "-n", processes, "-p", "no:cacheprovider", module]
    environment = {name: value for name, value in os.environ.items() if name != "CHROMIUM"}
    environment |= {"PATH": "/nowhere", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "-k", "password"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    *_, section, advice, _ = done.stdout.splitlines()
    assert " browser tests " in section, done.stdout + done.stderr
    assert advice == (
        "1 skipped, because no Chromium was found. Install one (Debian: apt install chromium), "
        "or set CHROMIUM to its path."
    )
