"""`catalog ingest` and `catalog record`: pulls without Airflow and without a database."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from upath import UPath

from catalog.cli.program import err
from catalog.cli.pull_output import mapping_tracebacks, outcome_table, show_outcome
from catalog.cli.pulling import (
    FileCheckpoint,
    advice_on_gaps,
    folder_for,
    private_address_explained,
    private_hosts,
    secret_for,
    shown_progress,
    stop_on_signal,
    storage_error_explained,
)
from catalog.core.errors import CatalogError
from catalog.ingestion.assemble import client_for, replay_of, window_of
from catalog.ingestion.options import Options
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.registry import dag_id_of, provider_class
from catalog.ingestion.sessions import tls_probe
from catalog.ingestion.shortfalls import Advice

ProviderName = Annotated[str, typer.Argument(help="A provider's name, as `catalog providers` lists them.")]
Day = Annotated[
    datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The UTC day of a dated provider.")
]
Limit = Annotated[int, typer.Option(min=0, help="Stop after this number of records; 0: all.")]
BaseUrl = Annotated[
    str | None, typer.Option(help="Send the requests there instead of to the API, without its key.")
]


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
    private, replayed = private_hosts(), transport is not None
    client = client_for(
        cls,
        secret_for(cls),
        replay=transport,
        contact=os.environ.get("CONTACT_EMAIL"),
        private_hosts=private,
        base_url=base_url,
    )
    with (
        folder_for(folder) as target,
        mapping_tracebacks(),
        stop_on_signal() as stopped,
        shown_progress(provider, replayed=replayed) as progress,
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
            probe=None if replayed else tls_probe(private),
            advice=advice_on_gaps(folder, replayed=replayed),
        )
        try:
            with private_address_explained(), storage_error_explained(folder):
                pull.run()
        finally:
            if (manifest := parts.load()) is not None:
                show_outcome(cls, parts, manifest, as_json, kept=folder is not None)


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
        cls, secret_for(cls), record_to=folder, day=day_, private_hosts=private_hosts(), base_url=base_url
    )
    kept = f"The responses are in {folder}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        private_address_explained(),
        shown_progress(provider, replayed=False) as progress,
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
