"""`catalog db adopt`: inspects an older catalog, and migrates it to the current schema."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, TypeVar

import msgspec
import typer
from humanize import naturalsize
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalog.cleaning.inspection import Finding, inspect_rows
from catalog.cli.connections import Dsn, connected
from catalog.cli.database import MaxWait
from catalog.cli.output import print_json
from catalog.cli.program import err, notify, out
from catalog.core.errors import CatalogError
from catalog.database import locks
from catalog.database.adoption import Blocked, Inspection, adopt, check, inspect
from catalog.database.adoption.first_revision import statements
from catalog.database.adoption.steps import Step

_PAUSE = 10.0  # seconds between two lines about the same step, if stderr is not a terminal
_PLURAL = {
    "function": "functions",
    "index": "indexes",
    "rows": "lists of metrics",
    "table": "tables",
    "view": "views",
}
_Result = TypeVar("_Result")


def adopt_command(
    dsn: Dsn,
    check_only: Annotated[
        bool, typer.Option("--check", help="Only show what would be done; nothing is changed.")
    ] = False,
    duplicates: Annotated[
        Literal["newest"] | None,
        typer.Option(
            help="Of rows that should be unique and are not, keep the newest; move the others "
            "to deleted_<media> or <table>_duplicates."
        ),
    ] = None,
    max_wait: MaxWait = locks.MAX_WAIT,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --check: print the findings as JSON.")
    ] = False,
) -> None:
    """Migrate a catalog of an older generation to the current schema, beside readers.

    No media table is rewritten. Stop the older catalog's DAGs first, and run --check. An interrupted command
    resumes when it is repeated.
    """
    move = duplicates is not None
    if as_json and not check_only:
        raise CatalogError("--json: it shows the findings of --check; add that.")
    if check_only:
        with connected(dsn) as connection:
            inspection = inspect(connection, move_duplicates=move, notify=notify, max_wait=max_wait)
            rows = inspect_rows(connection) if inspection.state == "older" else []
        if as_json:
            print_json(msgspec.to_builtins({"database": inspection, "rows": rows}))
        else:
            show(inspection)
            show_rows(rows)
        _refused(lambda: check(inspection))
        return
    with _progress() as progress:
        status = _refused(
            lambda: adopt(dsn, move_duplicates=move, notify=notify, progress=progress, max_wait=max_wait)
        )
    out.print(f"catalog database: adopted; {status}")


def _refused(work: Callable[[], _Result]) -> _Result:
    """Return the result of `work`; list the obstacles to an adoption line by line."""
    try:
        return work()
    except Blocked as error:
        for reason in error.reasons:
            notify(f"obstacle: {reason}")
        raise CatalogError(f"{error.summary}.") from None


def show(inspection: Inspection, console: Console = out) -> None:
    """Print the result of an inspection: generation, objects, steps, and what is kept or lost."""

    def line(text: str = "") -> None:
        _print(console, text)

    if inspection.generation:
        evidence = "; ".join(inspection.generation.evidence)
        line(f"An older catalog, generation {inspection.generation.name}: {evidence}.")
    if inspection.objects:
        table = Table("object", "kind", "rows, about", "size", "outcome")
        for thing in inspection.objects:
            sized = thing.kind in ("table", "materialized view")
            table.add_row(
                thing.name,
                thing.kind,
                f"{thing.rows:,}" if sized else "",
                naturalsize(thing.bytes) if sized else "",
                thing.outcome,
            )
        console.print(table)
    for number, step in enumerate(inspection.steps, 1):
        line(f"{number}. {step.title}")
        for text in _texts(step):
            line(f"      {text}")
        for lock in step.locks:
            line(f"      locks {lock.text}")
    _section(line, "Unchanged", inspection.notes)
    _section(line, "Lost with what is replaced", inspection.lost)
    _section(line, "Not managed by the catalog", inspection.unmanaged)
    _section(
        line,
        "Unexpected values that are kept, and that operations skip or count as missing",
        [
            f"{values.table}: {'' if values.exact else 'about '}{values.rows:,} with {values.description}"
            for values in inspection.unexpected
        ],
    )


def show_rows(findings: list[Finding], console: Console = out) -> None:
    """Print what the rules of cleaning find in the rows."""
    if not findings:
        return
    console.print("What clean_catalog finds in the rows, after the adoption:", highlight=False)
    for finding in findings:
        read = "" if finding.exact else f" (from {finding.read:,} rows)"
        about = "" if finding.exact else "about "
        _print(
            console, f"  {finding.table}, {finding.rule}: {about}{finding.rows:,} rows can be cleaned{read}"
        )
        _print(console, f"    {finding.about}")
        for example in finding.examples:
            for column, before in example.before.items():
                _print(
                    console, f"      {example.identifier} {column}: {before!r} -> {example.after[column]!r}"
                )
        for reason, number in finding.left.items():
            rows = ", ".join(example.identifier for example in finding.left_examples[reason])
            _print(console, f"    {about}{number:,} stay: {reason}, such as {rows}")


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _section(line: Callable[[str], None], title: str, texts: list[str]) -> None:
    if texts:
        line(f"{title}:")
        for text in texts:
            line(f"  {text}")


def _texts(step: Step) -> list[str]:
    """Return the statements of a step, each in one line, and the number of those of the first revision."""
    known = {s.text.rstrip(";"): s.kind for s in statements()}
    own, counted = [], dict[str, int]()
    for statement in step.statements:
        kind = next((k for text, k in known.items() if statement.rstrip(";").startswith(text)), None)
        if kind is None or len(step.statements) < 5:
            own.append(" ".join(statement.split()))
        elif kind != "block":
            counted[kind] = counted.get(kind, 0) + 1
    created = ", ".join(f"{number} {_PLURAL[kind]}" for kind, number in sorted(counted.items()))
    return own + ([f"and statements of revision 0001: {created}"] if created else [])


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a callback that shows progress: a bar on a terminal, otherwise a line from time to time."""
    if not err.is_terminal:
        reported = 0.0

        def report(what: str, done: int, total: int) -> None:
            nonlocal reported
            if time.monotonic() - reported >= _PAUSE:
                reported = time.monotonic()
                notify(f"{what}: {done:,} of {total:,}")

        yield report
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=None)

        def update(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        yield update
