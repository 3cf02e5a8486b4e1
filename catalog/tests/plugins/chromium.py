"""The closing line about browser tests that were skipped."""

import pytest

from catalog.local.chromium import ADVICE, NEEDED


def summarize(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the tests that were skipped because they need a browser."""
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if number := sum(NEEDED in reason for reason in reasons):
        terminalreporter.section("browser tests")
        terminalreporter.line(f"{number} skipped, because {NEEDED}. {ADVICE}")
