"""`catalog ingest` and `catalog record`: pulls without Airflow and without a database."""

import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from upath import UPath

from catalog.cli.program import TRACEBACK, err
from catalog.core.errors import CatalogError, PrivateAddress
from catalog.core.files import write_atomically
from catalog.core.secrets import Secret
from catalog.core.settings import PRIVATE_HOSTS
from catalog.ingestion import page_writer
from catalog.ingestion.assemble import client_for, replay_of, window_of
from catalog.ingestion.options import Options
from catalog.ingestion.parts import Counts, Manifest, Parts
from catalog.ingestion.provider import Provider
from catalog.ingestion.pull import Pull
from catalog.ingestion.reasons import added_up
from catalog.ingestion.registry import dag_id_of, provider_class
from catalog.ingestion.sessions import tls_probe
from catalog.ingestion.shortfalls import Advice
from catalog.ingestion.state import restored

ProviderName = Annotated[str, typer.Argument(help="A provider's name, as `catalog providers` lists them.")]
Day = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The UTC day of a dated provider.")
]
SHOWN_REJECTS, EXCERPT = 5, 400  # reasons, characters of an item
Limit = Annotated[int, typer.Option(min=0, help="Stop after this number of records; 0: all.")]
BaseUrl = Annotated[
    str | None, typer.Option(help="Send the requests there instead of to the API, without its key.")
]
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
    return Secret(value) if value else None


def _private_hosts() -> list[str]:
    """Return the hosts that may be at private addresses, from the environment variable PRIVATE_HOSTS."""
    hosts, problem = PRIVATE_HOSTS.decode(
        os.environ.get("PRIVATE_HOSTS") or os.environ.get("AIRFLOW_VAR_PRIVATE_HOSTS")
    )
    if problem:
        raise CatalogError(problem.partition(" Until it is corrected")[0])
    return hosts


def ingest(
    provider: ProviderName,
    day: Day = None,
    limit: Limit = 0,
    replay: Annotated[
        Path | None, typer.Option(help="Use the responses of this recording instead of the network.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder of TSV parts and rejects; resumes a pull there. Default: none are kept."
        ),
    ] = None,
    base_url: BaseUrl = None,
    accept_shortfall: Annotated[
        bool, typer.Option(help="Count the pull as whole although it returns less than the API announces.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcome as one JSON object on the last line of stdout.")
    ] = False,
) -> None:
    """Pull a provider into TSV parts, without Airflow and without a database.

    After Ctrl-C, the same command with the same --out resumes at the next page. With CATALOG_TRACEBACK=1 in
    the environment, the first traceback of each error in a mapping is shown.
    """
    cls = provider_class(provider)
    if cls.dump:
        raise CatalogError(
            f"{provider} is a dump that is loaded by SQL: trigger {dag_id_of(provider)} instead."
        )
    transport = replay_of(provider, replay)
    window = window_of(cls, day.date() if day else None, transport)
    private = _private_hosts()
    client = client_for(
        cls,
        secret_for(cls),
        replay=transport,
        contact=os.environ.get("CONTACT_EMAIL"),
        private_hosts=private,
        base_url=base_url,
    )
    with (
        _folder(folder) as target,
        mapping_tracebacks(),
        _stop_on_signal() as stopped,
        _progress(provider, replayed=transport is not None) as progress,
    ):
        covers = f"_{window}".replace(":", "") if window else ""
        checkpoint = FileCheckpoint(target / f"{provider}{covers}.checkpoint.json")
        parts = Parts(UPath(target.resolve()), provider, checkpoint.started() or datetime.now(UTC), window)
        pull = Pull(
            cls(),
            client,
            parts,
            run_id="catalog ingest",
            window=window,
            options=Options(limit=limit, accept_shortfall=accept_shortfall),
            checkpoint=checkpoint,
            progress=progress,
            should_stop=lambda: bool(stopped),
            probe=None if transport else tls_probe(private),
            advice=_advice(folder, replayed=transport is not None),
        )
        try:
            with _private_address_explained(), _storage_error_explained(folder):
                pull.run()
        finally:
            if (manifest := parts.load()) is not None:
                _show_outcome(cls, parts, manifest, as_json, kept=folder is not None)


def _advice(folder: Path | None, *, replayed: bool) -> Advice:
    """Return what to do about a pull with gaps."""
    kept = f"What came is in {folder}" if folder else "No files remain; give --out to keep them"
    again = "the same command requests what is missing again" if folder else "repeat the command"
    look = RECORDED if replayed else f"Look at the API's responses, and at `pages` of the provider; {again}."
    return Advice(
        short=f"{kept}. {look} If this is right, --accept-shortfall counts the pull as whole.",
        skipped=f"The pull went on after each. {kept}; {again}.",
    )


@contextmanager
def _private_address_explained() -> Iterator[None]:
    """Say how to reach a server of one's own."""
    try:
        yield
    except PrivateAddress as error:
        raise CatalogError(
            f"{error}. If it is a server of your own, give its address as --base-url, or allow its host in "
            """the environment: PRIVATE_HOSTS='["127.0.0.1"]'."""
        ) from None


@contextmanager
def _storage_error_explained(folder: Path | None) -> Iterator[None]:
    """Say how a pull whose parts could not be written is resumed."""
    try:
        yield
    except OSError as error:
        resumes = "the same command resumes there" if folder else "give --out to be able to resume a pull"
        raise CatalogError(
            f"{error.filename}: {error.strerror}. Earlier pages are complete; once repaired, {resumes}."
        ) from None


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """Yield a folder for the files of a pull: the given one, or one that is deleted at the end."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="catalog_") as scratch:
        yield Path(scratch)


@contextmanager
def mapping_tracebacks() -> Iterator[None]:
    """Show the first traceback of each error in a mapping if CATALOG_TRACEBACK is set."""
    handler = RichHandler(console=err, show_time=False, show_path=False, rich_tracebacks=True)
    if os.environ.get(TRACEBACK):
        page_writer.log.addHandler(handler)
        page_writer.log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        page_writer.log.removeHandler(handler)
        page_writer.log.setLevel(logging.NOTSET)


def show_rejects(parts: Parts) -> None:
    """Print the first reject of each reason, with its item."""
    shown: set[str] = set()
    for path in parts.reject_files():
        for line in path.read_bytes().splitlines():
            reject = orjson.loads(line)
            if (reason := reject["reason"]) in shown or len(shown) == SHOWN_REJECTS:
                continue
            shown.add(reason)
            item = orjson.dumps(reject.get("raw", reject.get("raw_text"))).decode()
            err.print(f"rejected, {reason}; the first item: {item[:EXCERPT]}", soft_wrap=True)
    if shown and not os.environ.get(TRACEBACK):
        err.print(f"{TRACEBACK}=1 in the environment shows the tracebacks")


def _show_outcome(
    cls: type[Provider], parts: Parts, manifest: Manifest, as_json: bool, *, kept: bool
) -> None:
    """Print the outcome of a pull: tables on stderr and, if requested, one line of JSON on stdout."""
    files = [str(path) for media_type in cls.catalog_names for path in parts.tsv_files(media_type, manifest)]
    err.print(outcome_table(manifest))
    show_rejects(parts)
    if kept:
        err.print(
            f"{len(files)} TSV parts and {len(parts.reject_files())} files of rejects in {parts.folder}",
            soft_wrap=True,
        )
    else:
        err.print(f"{len(files)} TSV parts were written, and deleted: give --out to keep them")
    if not as_json:
        return
    counts = manifest.counts.values()
    result = {
        "provider": cls.name,
        "pages": manifest.pages,
        "complete": manifest.complete,
        "whole": manifest.complete and manifest.whole and not manifest.replayed,
        "replayed": manifest.replayed,
        "shortfalls": manifest.shortfalls,
        "error": manifest.error,
        "fetched": sum(c.fetched for c in counts),
        "written": {m: manifest.counts.get(m, Counts()).written for m in cls.catalog_names},
        "skipped": added_up(*(c.skipped for c in counts)),
        "rejected": added_up(*(c.rejected for c in counts)),
        "parts": files if kept else [],
    }
    sys.stdout.write(json.dumps(result) + "\n")


def record(
    provider: ProviderName,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the new recording.")],
    day: Day = None,
    limit: Limit = 100,
    base_url: BaseUrl = None,
) -> None:
    """Record the responses of a provider's API to a short pull, without secrets, for `ingest --replay`."""
    cls = provider_class(provider)
    if (folder / "recording.json").exists():
        raise CatalogError(f"{folder} already contains a recording; choose another --out.")
    window = window_of(cls, day.date() if day else None, None)
    day_ = window.day if window else None
    client = client_for(
        cls, secret_for(cls), record_to=folder, day=day_, private_hosts=_private_hosts(), base_url=base_url
    )
    kept = f"The responses are in {folder}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        _private_address_explained(),
        _progress(provider, replayed=False) as progress,
    ):
        parts = Parts(UPath(scratch), provider, datetime.now(UTC), window)
        manifest = Pull(
            cls(),
            client,
            parts,
            run_id="catalog record",
            window=window,
            options=Options(limit=limit),
            progress=progress,
            advice=Advice(
                short=f"{kept}; look at them, and at `pages` of the provider.",
                skipped=f"The pull went on after each. {kept}.",
            ),
        ).run()
    err.print(outcome_table(manifest))
    err.print(f"recorded {client.requests} requests in {folder}; check them before you commit any.")


def outcome_table(manifest: Manifest) -> Table:
    """Return the numbers of items by outcome and reason."""
    title = f"{manifest.provider}: {manifest.pages} pages in {manifest.seconds:.1f} s" + (
        " (REPLAY)" if manifest.replayed else ""
    )
    table = Table("media", "outcome", "reason", "items", title=title)
    for media_type, counts in manifest.counts.items():
        table.add_row(media_type, "fetched", "", f"{counts.fetched:,}", style="bold")
        table.add_row("", "written", "", f"{counts.written:,}")
        for outcome in ("skipped", "rejected", "cleaned"):
            for reason, number in sorted(getattr(counts, outcome).items()):
                table.add_row("", outcome, reason, f"{number:,}")
    return table


@contextmanager
def _progress(provider: str, *, replayed: bool) -> Iterator[Any]:
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


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
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
