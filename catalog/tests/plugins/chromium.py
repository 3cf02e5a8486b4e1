"""The Chromium of this machine, for the browser tests, and how to get one."""

import os
import shutil

import pytest

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = "no Chromium was found"


def summarize(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the tests that were skipped because they need a browser."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if number := sum(NEEDED in reason for reason in reasons):
        terminalreporter.section("browser tests")
        terminalreporter.line(
            f"{number} skipped, because {NEEDED}. Install one (Debian: apt install chromium), "
            "or set CHROMIUM to its path."
        )
