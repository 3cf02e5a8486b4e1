"""What a pull from the command line needs: key, folder, checkpoint, progress, signals, and advice."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from catalog.cli.program import err
from catalog.core.errors import CatalogError, PrivateAddress
from catalog.core.files import write_atomically
from catalog.core.secrets import Secret, remember
from catalog.core.settings import PRIVATE_HOSTS
from catalog.ingestion.parts import Manifest
from catalog.ingestion.provider import Provider
from catalog.ingestion.shortfalls import Advice
from catalog.ingestion.state import restored

RECORDED = "Totals and numbers of pages in a recording must be those of the items that it holds."


class FileCheckpoint:
    """State of a pull in a file, so that the same command resumes an interrupted pull."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, Any] | None:
        return orjson.loads(self._path.read_bytes()) if self._path.exists() else None

    def started(self) -> datetime | None:
        """Return when the stored pull began; None without a usable state."""
        try:
            stored = self.load()
            return restored(stored).started if stored else None
        except ValueError:
            return None

    def save(self, state: dict[str, Any]) -> None:
        write_atomically(self._path, orjson.dumps(state))

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)


def secret_for(provider: type[Provider]) -> Secret | None:
    """Return the provider's key from the environment, under its Variable's name or with AIRFLOW_VAR_."""
    if provider.key is None:
        return None
    value = os.environ.get(provider.key.variable) or os.environ.get(f"AIRFLOW_VAR_{provider.key.variable}")
    remember(value or "")
    return Secret(value) if value else None


def private_hosts() -> list[str]:
    """Return the hosts that may be at private addresses, from the environment variable PRIVATE_HOSTS."""
    hosts, problem = PRIVATE_HOSTS.decode(
        os.environ.get("PRIVATE_HOSTS") or os.environ.get("AIRFLOW_VAR_PRIVATE_HOSTS")
    )
    if problem:
        raise CatalogError(problem.partition(" Until it is corrected")[0])
    return hosts


@contextmanager
def folder_for(folder: Path | None) -> Iterator[Path]:
    """Yield a folder for the files of a pull: the given one, or one that is deleted at the end."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="catalog_") as scratch:
        yield Path(scratch)


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Stop the pull after the current page at the first Ctrl-C or SIGTERM, and at once at the second."""
    stopped: list[int] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        err.print("stopping after this page; again to stop at once")
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown_progress(provider: str, *, replayed: bool) -> Iterator[Any]:
    """Show progress on stderr: items, their rate, and the remaining time if the API announces a total."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(provider + (" REPLAY" if replayed else ""), total=None)
        began = time.monotonic()

        def update(manifest: Manifest, total: int | None) -> None:
            fetched = sum(c.fetched for c in manifest.counts.values())
            rate = fetched / max(time.monotonic() - began, 0.001)
            label = f"{provider}: page {manifest.pages}, {rate:,.0f} items/s" + (
                " REPLAY" if replayed else ""
            )
            progress.update(task, completed=fetched, description=label, total=total)

        yield update


def advice_on_gaps(folder: Path | None, *, replayed: bool) -> Advice:
    """Return what to do about a pull with gaps."""
    kept = f"What came is in {folder}" if folder else "No files remain; give --out to keep them"
    again = "the same command requests what is missing again" if folder else "repeat the command"
    look = RECORDED if replayed else f"Look at the API's responses, and at `pages` of the provider; {again}."
    return Advice(
        short=f"{kept}. {look}",
        skipped=f"The pull went on after each. {kept}; {again}.",
        accept="If this is right, --accept-shortfall counts the pull as whole.",
    )


@contextmanager
def private_address_explained() -> Iterator[None]:
    """Say how to reach a server of one's own."""
    try:
        yield
    except PrivateAddress as error:
        raise CatalogError(
            f"{error}. If it is a server of your own, give its address as --base-url, or allow its host in "
            """the environment: PRIVATE_HOSTS='["127.0.0.1"]'."""
        ) from None


@contextmanager
def storage_error_explained(folder: Path | None) -> Iterator[None]:
    """Say how a pull whose parts could not be written is resumed."""
    try:
        yield
    except OSError as error:
        resumes = "the same command resumes there" if folder else "give --out to be able to resume a pull"
        raise CatalogError(
            f"{error.filename}: {error.strerror}. Earlier pages are complete; once repaired, {resumes}."
        ) from None
