"""`catalog db restored`: after the catalog database was restored to an earlier moment."""

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console

from catalog.cli.database import Dsn
from catalog.core.conninfo import conninfo
from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES
from catalog.database.revision import require
from catalog.ingestion.provider import provider_names
from catalog.recovery import restored
from catalog.recovery.taken_back import take_back

AIRFLOW, API = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_POSTGRES_OPENLEDGER_API"
REFRESHES = tuple(f"{media_type}_data_refresh" for media_type in sorted(MEDIA_TYPES, reverse=True))
out = Console(width=100_000, highlight=False, markup=False)  # lines are to be copied, so none is wrapped


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
        str, typer.Option(help='JSON for the conf of each run, such as {"accept_shortfall": true}.')
    ] = "{}",
) -> None:
    """Run this when the database was restored to an earlier moment, before Airflow's components start again.

    Refreshes and other runs that take turns cannot go on where the lost state was: they are given up. Records
    that the API's database holds are taken back from there, with their identifiers. The commands that bring
    back all else are printed, in their order.
    """
    more, airflow, api = _conf(conf), _readable("--airflow", airflow), _readable("--api", api)
    today = datetime.now(UTC).date()
    with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
        require(connection)
        newest = restored.newest_load(connection)
        if newest is None and since is None:
            raise Refused(
                "this database knows of no load, so it does not know which days are missing: "
                "give --since, the first UTC day after the backup."
            )
        plans = restored.catch_up(connection, provider_names(), since.date() if since else None, today)
        given_up = restored.give_turns_up(connection)
        first = since.date() if since else newest.date() if newest else today
        moment = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=1)
        runs = _runs_by_hand(connection, airflow, moment)
        back = _take_back(connection, api, moment)
    _comment(
        f"The newest load that this database knows of ended on {newest:%Y-%m-%d %H:%M} UTC."
        if newest
        else "This database knows of no load.",
        f"Runs that cannot go on, because they began before: {given_up}. Trigger new ones, or clear "
        "such a run from its first task on.",
        f"Taken back from the API's database, with their identifiers: {back}.",
    )
    _section("1. Let what is found now stay as it is until all is back.")
    for dag_id in REFRESHES:
        _print("airflow", "dags", "pause", "--yes", dag_id)
    _section(
        "2. Days of dated providers. A day that has a run already is run again. The DAGs must not be paused."
    )
    for plan in plans:
        if plan.how == "days":
            _print(
                "airflow",
                "backfill",
                "create",
                "--dag-id",
                plan.dag_id,
                "--from-date",
                str(plan.first),
                "--to-date",
                str(plan.last),
                "--reprocess-behavior",
                "completed",
                "--run-on-latest-version",
                *_given("--dag-run-conf", more),
            )
    _section("3. What came since a day.")
    for plan in plans:
        if plan.how == "since":
            _print(
                "airflow",
                "dags",
                "trigger",
                plan.dag_id,
                *_given("--conf", {"date": str(plan.first), **more}),
            )
    _section("4. These pull everything: their next run brings all back. Not to wait for the schedule:")
    for plan in plans:
        if plan.how == "everything":
            _print("airflow", "dags", "trigger", plan.dag_id, *_given("--conf", more))
    _section("5. When all of these have ended: what people changed since, in this order.")
    _by_hand(runs)
    _section("6. When these have ended:")
    for dag_id in REFRESHES:
        _print("airflow", "dags", "unpause", "--yes", dag_id)
        _print("airflow", "dags", "trigger", dag_id)


def _conf(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused('--conf should be a JSON object such as {"accept_shortfall": true}.')
    return found


def _readable(option: str, address: str | None) -> str | None:
    """What libpq takes for an address, or None; before anything is done."""
    try:
        return conninfo(address) if address else None
    except Refused as error:
        raise Refused(f"{option}: {error}") from None


def _runs_by_hand(connection: Any, airflow: str | None, since: datetime) -> list[restored.Unfinished] | None:
    """None when Airflow's database is not to be asked."""
    if not airflow:
        return None
    with psycopg.connect(airflow, autocommit=True) as database:
        return restored.unfinished(connection, restored.runs_by_hand(database, since))


def _take_back(connection: Any, api: str | None, since: datetime) -> str:
    """How many records came back, in words."""
    if not api:
        return f"none; for that, give --api, or set {API}"
    with psycopg.connect(api, autocommit=True) as database:
        found = {media_type: take_back(connection, database, media_type, since) for media_type in MEDIA_TYPES}
    return ", ".join(f"{number:,} {media_type} records" for media_type, number in found.items())


def _by_hand(runs: list[restored.Unfinished] | None) -> None:
    if runs is None:
        _comment(f"Unknown: give --airflow, or set {AIRFLOW}.")
        return
    if not runs:
        _comment("Nothing that Airflow's database knows of.")
    for found in runs:
        run = found.run
        if found.begun:
            _comment(
                f"Run {run.run_id} of {run.dag_id} is half done here: clear all its tasks, and it goes on."
            )
        else:
            _comment(f"{run.started:%Y-%m-%d %H:%M}, {run.state}: {run.run_id}")
            _print("airflow", "dags", "trigger", run.dag_id, *_given("--conf", run.conf))


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
