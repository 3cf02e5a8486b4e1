"""What a pull from the command line shows: outcomes by reason, rejects, tracebacks of mappings, JSON."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from rich.logging import RichHandler
from rich.table import Table

from catalog.cli.program import TRACEBACK, err
from catalog.core.jsontypes import JsonObject
from catalog.ingestion import page_writer
from catalog.ingestion.parts import Counts, Manifest, Parts, read_rejects
from catalog.ingestion.provider import Provider
from catalog.ingestion.reasons import added_up

SHOWN_REJECTS, EXCERPT = 5, 400  # reasons, characters of an item


def show_outcome(cls: type[Provider], parts: Parts, manifest: Manifest, as_json: bool, *, kept: bool) -> None:
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
    if as_json:
        sys.stdout.write(json.dumps(_outcome(cls, manifest, files if kept else [])) + "\n")


def _outcome(cls: type[Provider], manifest: Manifest, parts: list[str]) -> JsonObject:
    counts = manifest.counts.values()
    return {
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
        "parts": parts,
    }


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


def show_rejects(parts: Parts) -> None:
    """Print the first reject of each reason, with its item."""
    shown: set[str] = set()
    for path in parts.reject_files():
        for reject in read_rejects(path):
            if (reason := reject["reason"]) in shown or len(shown) == SHOWN_REJECTS:
                continue
            shown.add(reason)
            item = orjson.dumps(reject.get("raw", reject.get("raw_text"))).decode()
            err.print(f"rejected, {reason}; the first item: {item[:EXCERPT]}", soft_wrap=True)
    if shown and not os.environ.get(TRACEBACK):
        err.print(f"{TRACEBACK}=1 in the environment shows the tracebacks")


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
