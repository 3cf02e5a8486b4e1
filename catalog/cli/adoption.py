"""`catalog db adopt`: shows what an older catalog holds, and migrates it to our schema."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from catalog.cli.database import Dsn, MaxWait, notify
from catalog.cli.program import err, out
from catalog.core.conninfo import conninfo
from catalog.core.errors import CatalogError
from catalog.database import locks
from catalog.database.adoption import InTheWay, Look, adopt, check, look
from catalog.database.adoption.first_revision import statements
from catalog.database.adoption.steps import Step

_PAUSE = 10.0  # seconds between two lines about the same step, where stderr is no terminal
_PLURAL = {
    "function": "functions",
    "index": "indexes",
    "rows": "lists of metrics",
    "table": "tables",
    "view": "views",
}


class Duplicates(StrEnum):
    newest = "newest"


def adopt_command(
    dsn: Dsn,
    check_only: Annotated[
        bool, typer.Option("--check", help="Only look, and say what would be done; nothing is changed.")
    ] = False,
    duplicates: Annotated[
        Duplicates | None,
        typer.Option(
            help="Of rows that should be unique and are not, keep the newest, and move the others "
            "to deleted_<media> or <table>_duplicates."
        ),
    ] = None,
    max_wait: MaxWait = locks.MAX_WAIT,
) -> None:
    """Make a catalog database of an older generation ours, beside readers; no media table is written anew.

    Stop the older catalog's DAGs first, and look with --check. When it was stopped, the same command goes on.
    """
    move = duplicates is Duplicates.newest
    if check_only:
        with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
            found = look(connection, move_duplicates=move, notify=notify, max_wait=max_wait)
        show(found)
        _refused(lambda: check(found))
        return
    with _progress() as progress:
        status = _refused(
            lambda: adopt(dsn, move_duplicates=move, notify=notify, progress=progress, max_wait=max_wait)
        )
    out.print(f"catalog database: adopted; {status}")


def _refused(work: Callable[[], Any]) -> Any:
    """What is in the way is said line by line."""
    try:
        return work()
    except InTheWay as error:
        for reason in error.reasons:
            notify(f"in the way: {reason}")
        raise CatalogError(f"{error.summary}.") from None


def show(found: Look, console: Console = out) -> None:
    """What a look has found: what it is, what is there, what would be done, what stays."""

    def line(text: str = "") -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    if found.generation:
        line(f"An older catalog, generation {found.generation.name}: {'; '.join(found.generation.signs)}.")
    if found.objects:
        table = Table("what", "kind", "rows, about", "size", "becomes")
        for thing in found.objects:
            sized = thing.kind in ("table", "materialized view")
            table.add_row(
                thing.name,
                thing.kind,
                f"{thing.rows:,}" if sized else "",
                _size(thing.bytes) if sized else "",
                thing.becomes,
            )
        console.print(table)
    for number, step in enumerate(found.steps, 1):
        line(f"{number}. {step.title}")
        for text in _texts(step):
            line(f"      {text}")
        for lock in step.locks:
            line(f"      locks {lock.text}")
    _section(line, "Stays as it is", found.notes)
    _section(line, "Lost with what is replaced", found.lost)
    _section(line, "Not touched", found.left)
    _section(
        line,
        "Values that stay, and that the catalog's operations pass over or count as missing",
        [f"{odd.table}: {'' if odd.exact else 'about '}{odd.rows:,} with {odd.what}" for odd in found.odd],
    )


def _section(line: Callable[[str], None], title: str, texts: list[str]) -> None:
    if texts:
        line(f"{title}:")
        for text in texts:
            line(f"  {text}")


def _texts(step: Step) -> list[str]:
    """The statements of a step, each in one line; those of the first revision are counted."""
    known = {s.text.rstrip(";"): s.kind for s in statements()}
    own, counted = [], dict[str, int]()
    for statement in step.statements:
        kind = next((k for text, k in known.items() if statement.rstrip(";").startswith(text)), None)
        if kind is None or len(step.statements) < 5:
            own.append(" ".join(statement.split()))
        elif kind != "block":
            counted[kind] = counted.get(kind, 0) + 1
    made = ", ".join(f"{number} {_PLURAL[kind]}" for kind, number in sorted(counted.items()))
    return own + ([f"and statements of revision 0001: {made}"] if made else [])


def _size(number: int) -> str:
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f} TB"


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """On a terminal a bar, elsewhere a line now and then."""
    if not err.is_terminal:
        said = 0.0

        def tell(what: str, done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= _PAUSE:
                said = time.monotonic()
                notify(f"{what}: {done:,} of {total:,}")

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task("", total=None)

        def update(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total)

        yield update
