"""A catalog database restored to an earlier moment: what must not continue, and what to repeat.

Airflow, the API's database and the search engine know of work that this database does not know any more. Each
pull can be repeated; a refresh that was under way must not go on with a half that came from the lost state.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from catalog.core.dates import utc
from catalog.core.errors import Refused
from catalog.core.session import Connection
from catalog.ingestion.provider import Provider, provider_class

REASON = "the restoration of the catalog database"
BEYOND = 1_000_000  # numbers of turns that were lost; nobody takes so many
LONG_BROKEN = timedelta(
    days=31
)  # a provider without a whole pull for longer has another trouble than the restoration
DRY_BY_DEFAULT = {"batched_update"}
# DAGs that people trigger and that change records: nothing but their runs knows what was changed.
BY_HAND = ("add_license_url", "batched_update", "delete_records", "flickr_thumbnails_removal")


class Run(msgspec.Struct, frozen=True):
    """A run of a DAG, as Airflow's database knows it."""

    dag_id: str
    run_id: str
    state: str
    started: datetime
    conf: dict[str, Any]


class Unfinished(msgspec.Struct, frozen=True):
    """A run whose work this database does not hold as a whole. begun: it holds its rows, done in part."""

    run: Run
    begun: bool


class CatchUp(msgspec.Struct, frozen=True):
    """How to bring back what was loaded since: `days` (first to last), `since` a day, or `everything`."""

    dag_id: str
    how: str
    first: date | None = None
    last: date | None = None


def newest_load(connection: Connection) -> datetime | None:
    """When the last load that this database knows of ended; None when it knows of none."""
    row = connection.execute(
        "select max(finished_on) from ingestion_report where isfinite(finished_on)"
    ).fetchone()
    return utc(row[0]) if row and row[0] else None


def give_turns_up(connection: Connection) -> int:
    """Stop every run that has taken its turn before the restoration.

    Turns that are taken from now on have numbers that no lost one had: the API's database and the search
    engine may hold what a refresh with such a number has left.

    Args:
        connection: To the catalog database, in autocommit.

    Returns:
        The number of runs that cannot go on.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(hashtext('turn'))")
        given_up = connection.execute(
            "update turn set given_up_for = %s, given_up_on = now() where given_up_for is null", [REASON]
        ).rowcount
        connection.execute(
            "select setval(name, nextval(name) + %s)"
            " from (select pg_get_serial_sequence('turn', 'number')::regclass) s(name)",
            [BEYOND],
        )
    return given_up


def catch_up(connection: Connection, names: Iterable[str], since: date | None, today: date) -> list[CatchUp]:
    """How each provider's records since then come back.

    Args:
        connection: To the catalog database.
        names: Of providers.
        since: The first day that is missing. None: each provider's own, the day on which its last whole pull
            ends. A dated provider without one in the last month begins on the day before the newest load.
        today: The current day in UTC.

    Returns:
        Providers with days first, those that pull everything last.

    Raises:
        Refused: The first missing day is in the future.
    """
    if since and since > today:
        raise Refused(f"--since: {since} is in the future; give the first UTC day that is missing.")
    newest, found = newest_load(connection), []
    usual, last = (newest.date() if newest else today) - timedelta(days=1), today - timedelta(days=1)
    for name in names:
        cls, dag_id = provider_class(name), f"{name}_workflow"
        known = _fresh_until(connection, cls) if cls.dated or cls.since else None
        if cls.dated:
            # A whole pull of days to come says nothing about those before.
            recent = known and usual - LONG_BROKEN < known <= last
            first = since or (known if known and recent else min(usual, last))
            if first <= last:
                found.append(CatchUp(dag_id, "days", first, last))
        elif cls.since and (first_of_all := since or (known and min(known, last))):
            found.append(CatchUp(dag_id, "since", first_of_all))
        else:
            found.append(CatchUp(dag_id, "everything"))
    order = ("days", "since", "everything")
    return sorted(found, key=lambda one: order.index(one.how))


def _fresh_until(connection: Connection, cls: type[Provider]) -> date | None:
    """The day until which all media types of a provider are known to be whole."""
    row = connection.execute(
        "select min(fresh_on) from (select max(fresh_on) as fresh_on from whole_pull"
        " where provider = any(%s)"
        " and isfinite(fresh_on) group by provider) p",
        [list(cls.catalog_names.values())],
    ).fetchone()
    return utc(row[0]).date() if row and row[0] else None


def runs_by_hand(airflow: Connection, since: datetime) -> list[Run]:
    """Runs that have changed records since then, or were about to, oldest first; not dry runs.

    Args:
        airflow: To Airflow's own database.
        since: What began before is not looked at.
    """
    # A popularity refresh triggers batched updates, too; it does so again by itself.
    rows = airflow.execute(
        "select dag_id, run_id, state, start_date, conf from dag_run "
        "where dag_id = any(%s) and run_type = 'manual' and start_date >= %s order by start_date",
        [list(BY_HAND), since],
    ).fetchall()
    runs = [
        Run(dag_id, run_id, state, utc(started), conf or {}) for dag_id, run_id, state, started, conf in rows
    ]
    return [run for run in runs if not run.conf.get("dry_run", run.dag_id in DRY_BY_DEFAULT)]


def unfinished(connection: Connection, runs: Iterable[Run]) -> list[Unfinished]:
    """Those whose work this database does not hold as a whole."""
    rows = connection.execute(
        "select run_id, bool_and(next_row > total) from batched_update group by run_id"
    ).fetchall()
    known = dict(rows)
    names = ((f"{run.dag_id}/{run.run_id}", run) for run in runs)
    return [Unfinished(run, name in known) for name, run in names if not known.get(name)]
