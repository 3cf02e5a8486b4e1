"""`catalog db restored`: after the catalog database was restored to an earlier moment."""

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec
import psycopg
import typer

from catalog.cli.connections import AIRFLOW, API, Dsn
from catalog.cli.program import Terminal, in_one_line
from catalog.core.conninfo import conninfo
from catalog.core.dates import utc
from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, SHOWN, MediaType
from catalog.core.queries import database_time
from catalog.core.session import Connection
from catalog.database.revision import current_revision, require
from catalog.ingestion.registry import broken_providers, provider_classes
from catalog.recovery import restored
from catalog.recovery.taken_back import take_back

REFRESHES = tuple(f"{media_type}_data_refresh" for media_type in SHOWN)
out = Terminal(width=100_000, highlight=False, markup=False)  # lines are to be copied, so none is wrapped


def restored_command(
    dsn: Dsn,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The first missing UTC day. Default: for each provider, the end of its last whole pull.",
        ),
    ] = None,
    airflow: Annotated[
        str | None,
        typer.Option(
            envvar=AIRFLOW,
            help="Address of Airflow's own database, which knows what people have changed since.",
            show_default=False,
        ),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(
            envvar=API,
            help="Address of the API's database, from which newer records get their identifiers back.",
            show_default=False,
        ),
    ] = None,
    conf: Annotated[
        str, typer.Option(help='JSON for the conf of each run, such as {"skip_ingestion_errors": true}.')
    ] = "{}",
) -> None:
    """Print what brings back the data that a restored catalog lacks, before Airflow's components start again.

    Refreshes and other runs that hold a turn cannot resume, because their state is lost: their turns are
    released. Records that the API's database still has are copied back with their identifiers. The commands
    that restore everything else are printed in order.
    """
    more, airflow, api = _conf(conf), _conninfo_of("--airflow", airflow), _conninfo_of("--api", api)
    with (  # all of them, before anything is changed
        _connected("--dsn", conninfo(dsn)) as catalog,
        _connected_if_given("--airflow", airflow) as airflow_database,
        _connected_if_given("--api", api) as api_database,
    ):
        require(catalog)
        if api_database and current_revision(api_database, "catalog"):
            raise Refused(
                "--api leads to a database of a catalog, perhaps this one, and not to the API's. Nothing was "
                f"changed. Give the address of the API's database, or correct {API}."
            )
        done = _restore(catalog, airflow_database, api_database, since.date() if since else None)
    _show(done, more)


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was done after the restoration, and what is known of the rest.

    Attributes:
        newest: When the newest load in the database ended; None if it holds none.
        given_up: Number of runs that cannot resume.
        copied: Media type → number of records copied back; None without the API's database.
        plans: How the missing records of each provider are loaded again.
        runs: The unfinished runs that users triggered; None without Airflow's database.
        reaches: Airflow's database has runs from before the newest load.
        root: The folder to which the database has last published the dataset; None if it has not.
    """

    newest: datetime | None
    given_up: int
    copied: dict[MediaType, int] | None
    plans: list[restored.CatchUp]
    runs: list[restored.Unfinished] | None
    reaches: bool
    root: str | None


def _restore(
    catalog: Connection, airflow: Connection | None, api: Connection | None, since: date | None
) -> Restored:
    """Release the turns and copy records back, once all that is needed for the advice is read.

    Args:
        catalog: Connection to the catalog database, in autocommit.
        airflow: Connection to Airflow's own database.
        api: Connection to the API's database, in autocommit.
        since: The first missing UTC day.
    """
    newest, today = restored.newest_load(catalog), utc(database_time(catalog)).date()
    if newest is None and since is None:
        raise Refused(
            "this database knows of no load, so it does not know which days are missing: "
            "give --since, the first UTC day after the backup."
        )
    plans = restored.catch_up(catalog, provider_classes(), since, today)
    first = since or (newest.date() if newest else today)
    moment = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
    runs, reaches = None, True
    if airflow:
        by_hand = restored.runs_by_hand(airflow, moment, restored.half_done(catalog))
        runs = restored.unfinished(catalog, by_hand, moment)
        reaches = restored.reaches(airflow, newest or moment)
    return Restored(
        newest=newest,
        given_up=restored.release_turns(catalog),
        copied={m: take_back(catalog, api, m, moment) for m in MEDIA_TYPES} if api else None,
        plans=plans,
        runs=runs,
        reaches=reaches,
        root=restored.published_to(catalog),
    )


def _show(done: Restored, conf: dict[str, Any]) -> None:
    """Print what was done, and the commands that bring the rest back."""
    copied = f"none; for that, give --api, or set {API}"
    if done.copied is not None:
        copied = ", ".join(f"{number:,} {media_type} records" for media_type, number in done.copied.items())
    _comment(
        f"The newest load that this database knows of ended on {done.newest:%Y-%m-%d %H:%M} UTC."
        if done.newest
        else "This database knows of no load.",
        f"Runs that cannot resume, because they began before: {done.given_up}. Trigger new ones, or clear "
        "such a run from its first task on.",
        f"Copied back from the API's database, with their identifiers: {copied}.",
    )
    _print_steps(done, conf)
    if done.root:
        _section(f"7. If this catalog, and no longer the lost one, publishes the dataset to {done.root}:")
        _trigger("publish_dataset", {"successor": True})


def _print_steps(done: Restored, conf: dict[str, Any]) -> None:
    """Print the commands that bring everything back, in order."""
    _section("1. Keep the live tables and indexes as they are until everything is back.")
    for dag_id in REFRESHES:
        _print("airflow", "dags", "pause", "--yes", dag_id)
    _print_catch_up(done.plans, conf)
    for error in broken_providers().values():
        _comment(f"Not planned: {error}")
    _section("5. When all of these have ended: changes that users have made since, in this order.")
    if not done.reaches:
        _comment(
            "Airflow's database has no run from before the newest load: it is new, was cleaned, or is that "
            "of another Airflow, so runs may be missing here."
        )
    _print_runs(done.runs)
    _section("6. When these have ended:")
    for dag_id in REFRESHES:
        _print("airflow", "dags", "unpause", "--yes", dag_id)
        _print("airflow", "dags", "trigger", dag_id)


def _print_catch_up(plans: Iterable[restored.CatchUp], conf: dict[str, Any]) -> None:
    """Print the commands that pull what each provider lacks."""
    by_method: dict[str, list[restored.CatchUp]] = defaultdict(list)
    for plan in plans:
        by_method[plan.how].append(plan)
    _section("2. Days of dated providers. Days that have a run are run again. Their DAGs must not be paused.")
    for plan in by_method["days"]:
        days = ("--from-date", str(plan.first), "--to-date", str(plan.last))
        _print(
            *("airflow", "backfill", "create", "--dag-id", plan.dag_id, *days),
            *("--reprocess-behavior", "completed", "--run-on-latest-version"),
            *_given("--dag-run-conf", conf),
        )
    _section("3. Providers that are asked for everything since a day.")
    for plan in by_method["since"]:
        _trigger(plan.dag_id, {"date": str(plan.first), **conf})
    _section("4. Providers whose next run pulls everything. To run them before their schedule does:")
    for plan in by_method["everything"]:
        _trigger(plan.dag_id, conf)


def _conf(text: str) -> dict[str, Any]:
    try:
        conf = json.loads(text)
    except ValueError:
        conf = None
    if not isinstance(conf, dict):
        raise Refused('--conf should be a JSON object such as {"skip_ingestion_errors": true}.')
    return conf


def _connected_if_given(option: str, address: str | None) -> AbstractContextManager[Connection | None]:
    return _connected(option, address) if address else nullcontext()


def _connected(option: str, address: str) -> Connection:
    """Connect to one of several databases; of an error, the option says which address is meant."""
    try:
        return psycopg.connect(address, autocommit=True)
    except psycopg.OperationalError as error:
        raise Refused(f"{option}: {in_one_line(error)} Nothing was changed.") from None


def _conninfo_of(option: str, address: str | None) -> str | None:
    """Return the address that an option gives in libpq's form, or None; raise Refused for a malformed one."""
    try:
        return conninfo(address) if address else None
    except Refused as error:
        raise Refused(f"{option}: {error}") from None


def _print_runs(runs: list[restored.Unfinished] | None) -> None:
    if runs is None:
        _comment(f"Unknown: give --airflow, or set {AIRFLOW}.")
        return
    if not runs:
        _comment("None that Airflow's database knows of.")
    for unfinished in runs:
        run = unfinished.run
        if unfinished.begun:
            _comment(
                f"Run {run.run_id} of {run.dag_id} may be incomplete here: clear all its tasks to resume it."
            )
        else:
            _comment(f"{run.started:%Y-%m-%d %H:%M}, {run.state}: {run.run_id}")
            _trigger(run.dag_id, run.conf)


def _trigger(dag_id: str, conf: dict[str, Any]) -> None:
    _print("airflow", "dags", "trigger", dag_id, *_given("--conf", conf))


def _given(option: str, conf: dict[str, Any]) -> tuple[str, ...]:
    return (option, json.dumps(conf)) if conf else ()


def _print(*words: str) -> None:
    out.print(shlex.join(words))


def _comment(*lines: str) -> None:
    for line in lines:
        out.print(f"# {' '.join(line.split())}")


def _section(title: str) -> None:
    out.print()
    _comment(title)
