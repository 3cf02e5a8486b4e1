"""What a soak says: a line each minute, a table at its end, and each violation with what led to it."""

from collections import Counter

from rich.console import Console
from rich.table import Table

from catalog.soak.jobs import Job
from catalog.soak.journal import Journal

ORACLES = {
    "O1": "tables are as the reference says",
    "O2": "no key twice",
    "O3": "the accounts add up",
    "O4": "one page asked for again at most",
    "O5": "nothing is left over",
    "O6": "the canary stands nowhere",
    "O7": "states tell the truth",
    "O8": "readers see whole states",
    "stack": "the local stack lived on",
}


def progress(journal: Journal, jobs: list[Job], looks: dict[str, int], faults: dict[str, int]) -> str:
    """One line."""
    states = Counter(job.state for job in jobs)
    shown = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none"
    return (
        f"{journal.now() / 60:5.1f} min: runs {shown}; {sum(faults.values())} faults, {journal.kinds['clear']} clears, "
        f"{sum(looks.values()):,} reads, {len(journal.violations)} violations"
    )


def summary(
    console: Console,
    journal: Journal,
    jobs: list[Job],
    looks: dict[str, int],
    faults: dict[str, int],
    rows: dict[str, int],
) -> None:
    """Tables of events, runs, rows and oracles; then the violations."""
    _counts(console, "faults", faults)
    _counts(console, "events", dict(journal.kinds))
    _counts(console, "runs", Counter(f"{job.kind}: {job.state}" for job in jobs))
    _counts(console, "reads", looks)
    _counts(console, "rows", rows)
    table = Table("oracle", "what must hold", "violations")
    found = Counter(violation.oracle for violation in journal.violations)
    for name, meaning in ORACLES.items():
        table.add_row(name, meaning, str(found[name]) if found[name] else "none")
    console.print(table)
    for violation in journal.violations:
        console.print(
            f"\n{violation.oracle} at {violation.at:.0f} s: {violation.text}",
            style="bold red",
            highlight=False,
            markup=False,
        )
        for event in violation.events:
            console.print(f"    {event}", highlight=False, soft_wrap=True, markup=False)


def _counts(console: Console, title: str, counted: dict[str, int]) -> None:
    table = Table(title, "number")
    for name, number in sorted(counted.items()):
        table.add_row(name, f"{number:,}")
    console.print(table)
