"""Output of a soak: a line each minute, tables at the end, and each violation with the events before it."""

from collections import Counter
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from catalog.soak.jobs import Job
from catalog.soak.journal import Journal
from catalog.soak.violations import ORACLES

Counts = Mapping[str, int]


def progress(journal: Journal, jobs: list[Job], reads: Counts, faults: Counts) -> str:
    """Return the line that is printed each minute."""
    states = Counter(job.state for job in jobs)
    shown = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none"
    return (
        f"{journal.now() / 60:5.1f} min: runs {shown}; {sum(faults.values())} faults, "
        f"{journal.kinds['clear']} clears, {sum(reads.values()):,} reads, "
        f"{len(journal.violations)} violations"
    )


def summary(
    console: Console, journal: Journal, jobs: list[Job], reads: Counts, faults: Counts, rows: Counts
) -> None:
    """Print tables of faults, events, runs, reads, rows and oracles; then the violations."""
    _counts(console, "faults", faults)
    _counts(console, "events", journal.kinds)
    _counts(console, "runs", Counter(f"{job.kind}: {job.state}" for job in jobs))
    _counts(console, "reads", reads)
    _counts(console, "rows", rows)
    table = Table("oracle", "what must hold", "violations")
    found = Counter(violation.oracle for violation in journal.violations)
    for name, meaning in ORACLES.items():
        table.add_row(name, meaning, str(found[name]) if found[name] else "none")
    console.print(table)
    for violation in journal.violations:
        console.print(
            f"\n{violation.oracle} at {violation.at:.0f} s: {violation.message}",
            style="bold red",
            soft_wrap=True,
        )
        for event in violation.events:
            console.print(f"    {event}", soft_wrap=True)


def _counts(console: Console, title: str, counts: Counts) -> None:
    table = Table(title, "number")
    for name, number in sorted(counts.items()):
        table.add_row(name, f"{number:,}")
    console.print(table)
