"""After the catalog database was restored to an earlier moment: what must not continue, what to repeat.

Airflow, the API database and the search engine still hold work that the restored database does not. Pulls can
be repeated. A data refresh that had begun must not continue, because part of it came from the lost state.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal

import msgspec

from catalog.core.dates import AHEAD, utc
from catalog.core.errors import Refused
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import dag_id_of
from catalog.loading.history import fresh_until

REASON = "the restoration of the catalog database"
BEYOND = 1_000_000  # more than the number of turns that can have been lost
# The end of a provider's last whole pull, if it is older than this, is not taken for the first missing day.
LONG_BROKEN = timedelta(days=31)
DRY_BY_DEFAULT = {"add_machine_labels", "batched_update", "clean_catalog"}
# DAGs that people trigger and that change records. Only the confs of their runs tell what was changed.
BY_HAND = (
    "add_license_url",
    "add_machine_labels",
    "batched_update",
    "clean_catalog",
    "delete_records",
    "flickr_thumbnails_removal",
)
# Those of which a run selects rows several times, one selection after the other.
SEVERAL = ("add_license_url", "clean_catalog")


class Run(msgspec.Struct, frozen=True):
    """A DAG run in Airflow's database."""

    dag_id: str
    run_id: str
    state: str
    started: datetime
    ended: datetime | None
    conf: dict[str, Any]


class Unfinished(msgspec.Struct, frozen=True):
    """A run whose work is not completely in the restored database.

    Attributes:
        run: The run.
        begun: True if the database holds the run's selection, so that the run can be resumed.
    """

    run: Run
    begun: bool


class CatchUp(msgspec.Struct, frozen=True):
    """How to load a provider's missing records again.

    Attributes:
        dag_id: DAG of the provider.
        how: days: a backfill of the days `first` to `last`. since: one run from the day `first` on.
            everything: one run.
        first: First missing UTC day.
        last: Last missing UTC day.
    """

    dag_id: str
    how: Literal["days", "since", "everything"]
    first: date | None = None
    last: date | None = None


def newest_load(connection: Connection) -> datetime | None:
    """Return when the newest load in this database ended, not after now; None if it holds none."""
    row = connection.execute(
        "select max(finished_on) from ingestion_report"
        " where finished_on < now() + %s and finished_on > '-infinity'",
        [AHEAD],
    ).fetchone()
    return utc(row[0]) if row and row[0] else None


def release_turns(connection: Connection) -> int:
    """Give up the turns of all runs that began before the restoration, so that they cannot continue.

    Later turns get numbers that no lost turn had, because the API database and the search engine may hold
    traces of a refresh with such a number.

    Args:
        connection: Connection to the catalog database, in autocommit.

    Returns:
        The number of runs that cannot continue.
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


def catch_up(
    connection: Connection, classes: Iterable[type[Provider]], since: date | None, today: date
) -> list[CatchUp]:
    """Plan how the missing records of each provider are loaded again.

    Args:
        connection: Connection to the catalog database.
        classes: The providers.
        since: The first missing UTC day. None: for each provider, the day on which its last whole pull ends;
            for a dated provider without one in the last month, the day before the newest load.
        today: The current day in UTC.

    Returns:
        Dated providers first, providers that pull everything last.

    Raises:
        Refused: The first missing day is in the future.
    """
    if since and since > today:
        raise Refused(f"--since: {since} is in the future; give the first UTC day that is missing.")
    newest, catch_ups = newest_load(connection), []
    usual, last = (newest.date() if newest else today) - timedelta(days=1), today - timedelta(days=1)
    for cls in classes:
        dag_id = dag_id_of(cls.name)
        fresh = fresh_until(connection, cls.catalog_names) if cls.dated or cls.since else None
        known = utc(fresh).date() if fresh else None
        if cls.dated:
            # A whole pull of future days says nothing about the days before them.
            recent = known and usual - LONG_BROKEN < known <= last
            first = since or (known if known and recent else min(usual, last))
            if first <= last:
                catch_ups.append(CatchUp(dag_id, "days", first, last))
        elif cls.since and (first_of_all := since or (known and min(known, last))):
            catch_ups.append(CatchUp(dag_id, "since", first_of_all))
        else:
            catch_ups.append(CatchUp(dag_id, "everything"))
    order = ("days", "since", "everything")
    return sorted(catch_ups, key=lambda one: order.index(one.how))


def _work(connection: Connection) -> dict[str, bool]:
    """Return the runs of batched updates and deletions, as `<dag_id>/<run_id>`, and whether each is done.

    At its end, a run tries rows again that others have locked; then it drops its selection. The selections
    of former runs, which have another key, were taken over or given up.
    """
    query = """
        select run_id,
               bool_and(to_regclass(format('public.%I', query_id || '_rows_to_update')) is null)
          from batched_update group by run_id
    """
    return dict(connection.execute(query).fetchall())


def half_done(connection: Connection) -> list[str]:
    """Return the runs, as `<dag_id>/<run_id>`, that the restored database holds half done; some take days."""
    return [name for name, done in _work(connection).items() if not done]


def runs_by_hand(airflow: Connection, since: datetime, half: Sequence[str] = ()) -> list[Run]:
    """Return the manually triggered runs that changed records, or were about to, oldest first; no dry runs.

    Args:
        airflow: To Airflow's own database.
        since: Only runs that started then or later, or went on until then with several selections,
        half: and those of these, whenever they started.
    """
    # Batched updates that a popularity refresh triggered are not manual: the next refresh repeats them.
    rows = airflow.execute(
        """
        select dag_id, run_id, state, start_date, end_date, conf
          from dag_run
         where dag_id = any(%(by_hand)s) and run_type = 'manual'
           and (start_date >= %(since)s or dag_id || '/' || run_id = any(%(half)s)
                or dag_id = any(%(several)s) and start_date is not null
                   and (end_date is null or end_date >= %(since)s))
         order by start_date, dag_id
        """,
        {"by_hand": list(BY_HAND), "since": since, "half": list(half), "several": list(SEVERAL)},
    ).fetchall()
    runs = [
        Run(dag_id, run_id, state, utc(started), ended and utc(ended), conf or {})
        for dag_id, run_id, state, started, ended, conf in rows
    ]
    return [run for run in runs if not run.conf.get("dry_run", run.dag_id in DRY_BY_DEFAULT)]


def published_to(connection: Connection) -> str | None:
    """Return the folder to which this database has last published the dataset, or None."""
    row = connection.execute(
        "select root from dataset_version where stage = 'published' order by number desc limit 1"
    ).fetchone()
    return row[0] if row else None


def unfinished(connection: Connection, runs: Iterable[Run], since: datetime) -> list[Unfinished]:
    """Return the runs whose work is not completely in this database, or may not be.

    Args:
        connection: Connection to the catalog database.
        runs: The runs.
        since: What happened then or later may be missing. So of a run with several selections that went on
            until then, this database may know only some, all of them done.
    """
    known = _work(connection)

    def is_done(run: Run) -> bool:
        went_on = run.ended is None or run.ended >= since
        return known.get(_name(run), False) and not (run.dag_id in SEVERAL and went_on)

    return [Unfinished(run, _name(run) in known) for run in runs if not is_done(run)]


def reaches(airflow: Connection, moment: datetime) -> bool:
    """Return whether Airflow's database has a run of that moment, or from before it.

    A new one, that of another Airflow, and one that was cleaned do not tell what is missing.
    """
    return bool(value(airflow, "select exists (select from dag_run where start_date <= %s)", [moment]))


def _name(run: Run) -> str:
    return f"{run.dag_id}/{run.run_id}"
