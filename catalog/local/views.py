"""Terminal output of the local commands: tables, and the states of runs while they change."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

from elasticsearch import Elasticsearch
from rich.live import Live
from rich.table import Table
from rich.text import Text

from catalog.cli.program import Terminal
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.queries import search
from catalog.local import demo
from catalog.local.doctor import Check, Grade
from catalog.local.runs import Run
from catalog.local.stack import Stack
from catalog.local.trace import Place
from catalog.monitoring import failed_runs

# A log file has room for whole tables. Brackets in what is printed are data, not Rich's markup.
console = Terminal(width=None if sys.stdout.isatty() else 170, markup=False, highlight=False)
COLORS = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "running": "cyan",
    "up_for_retry": "yellow",
}
GRADE_COLORS: dict[Grade, str] = {"ok": "green", "note": "yellow", "wrong": "red"}


def notify(message: str) -> None:
    """Print a message with the time of day."""
    console.print(Text(time.strftime("%H:%M:%S"), "dim"), message)


def colored(state: str, width: int = 0) -> Text:
    """Return the state of a run or task in its color, padded to a width in characters."""
    return Text(f"{state:<{width}}", COLORS.get(state, "dim"))


class View(Protocol):
    """Display of a group of runs."""

    def __call__(self, runs: list[Run]) -> None: ...


@contextmanager
def live_view() -> Iterator[View]:
    """Display the states of runs: a live table on a terminal, one line per change elsewhere (CI)."""
    if not console.is_terminal:
        yield _print_changes()
        return
    with Live(console=console, transient=True, refresh_per_second=4) as live:

        def update(runs: list[Run]) -> None:
            table = Table("DAG", "state", "tasks")
            for run in runs:
                table.add_row(run.dag_id, colored(run.state), run.progress())
            live.update(table)

        yield update


def _print_changes() -> View:
    shown: dict[str, str] = {}

    def show(runs: list[Run]) -> None:
        for run in runs:
            if shown.get(run.dag_id) != run.state:
                shown[run.dag_id] = run.state
                notify(f"{run.dag_id}: {run.state}")

    return show


def checks_table(checks: list[Check]) -> Table:
    table = Table("check", "", "result and fix")
    for check in checks:
        table.add_row(check.name, Text(check.grade, GRADE_COLORS[check.grade]), check.message)
    return table


def outcome_table(runs: list[Run], reports: dict[str, list[demo.Row]]) -> Table:
    """Return a table of the ingestion reports of runs, one row per DAG and media type."""
    table = Table("DAG", "state", "s", "media", *demo.OUTCOMES, title="Outcome of the runs")
    for run in runs:
        head: list[str | Text] = [run.dag_id, colored(run.state), f"{run.seconds:.1f}"]
        for report in reports[run.dag_id]:
            counts = (f"{report[outcome]:,}" for outcome in demo.OUTCOMES)
            table.add_row(*head, str(report["media_type"]), *counts)
            head = ["", "", ""]
        if not reports[run.dag_id]:
            table.add_row(*head, "-", *("-" for _ in demo.OUTCOMES))
    return table


def sample_table(stack: Stack) -> Table:
    columns = ("provider", "title", "creator", "license", "landing URL")
    table = Table(*columns, title="One row of each provider in the catalog")
    for row in demo.samples(stack):
        table.add_row(*(str(value or "") for value in row.values()))
    return table


def search_table(client: Elasticsearch, words: str) -> Table:
    """Search the live image index, and return a table of the first hits."""
    found = search(Indexes(client, patience=0), "image", words, 5)
    title = f"{found.total:,} images for {words!r}"
    table = Table("score", "title", "source", "license", "tags", title=title)
    for hit in found.first:
        table.add_row(f"{hit.score:.2f}", *map(hit.text, ("title", "source", "license")), hit.tags(8))
    return table


def trace_table(places: list[Place]) -> Table:
    table = Table("place", "record", title="One record from API response to search hit")
    for place in places:
        table.add_row(*place)
    return table


def show_failed_runs(airflow: str) -> None:
    """Show the runs that have failed, and that no later run has made up for.

    Args:
        airflow: Address of Airflow's database.
    """
    try:
        failed = failed_runs.of_database(airflow, 5, datetime.now(UTC))
    except Exception as error:
        console.print(f"failed runs: Airflow's database could not be read ({type(error).__name__})")
        return
    if not failed:
        console.print("no failed run needs you")
    for one in failed_runs.merged([], failed):
        console.print(Text(one.severity, "red"), f"{one.subject}: {one.text}")
