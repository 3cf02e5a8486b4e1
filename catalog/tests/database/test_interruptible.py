"""A statement ends with the task that has sent it, which the driver alone does not see to."""

import signal
import subprocess
import sys
from contextlib import suppress

import psycopg
import pytest

from catalog.core.session import interruptible
from catalog.tests.waiting import until

pytestmark = pytest.mark.database
STATEMENT = "select pg_sleep(600)"
WORKER = f"""
import sys, psycopg
from catalog.core.errors import Interrupted
from catalog.core.session import settle
from catalog.dags.common.progress import stoppable
with (
    psycopg.connect(sys.argv[1], autocommit=True) as first,
    psycopg.connect(sys.argv[1], autocommit=True) as second,
):
    connection = locals()[sys.argv[2]]
    settle(connection)
    try:
        with stoppable(first), stoppable(second):
            connection.execute("{STATEMENT}")
    except Interrupted as error:
        print(error, *connection.execute("select 'and the connection is usable'").fetchone())
"""


@pytest.mark.parametrize("which", ["first", "second"])  # of the connections of the task
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_statement_ends_when_its_task_is_stopped_or_killed(dsn, catalog, how, which):
    def sessions():
        return catalog.execute("select from pg_stat_activity where query = %s", [STATEMENT]).rowcount

    command = [sys.executable, "-c", WORKER, dsn, which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as task:
        try:
            until(sessions)
            task.send_signal(how)
            said, _ = task.communicate(timeout=40)
        finally:
            task.kill()
    until(lambda: not sessions())
    expected = "stopped on request; the statement was cancelled. and the connection is usable\n"
    assert said == (expected if how == signal.SIGTERM else "")


TASK = f"""
from catalog.core.errors import Interrupted
from catalog.dags.common.connections import api_connection, catalog_connection
try:
    with catalog_connection(autocommit=True), api_connection() as connection:
        connection.execute("{STATEMENT}")
except Interrupted as error:
    print(error)
"""


def test_the_connections_of_tasks_cancel_their_statements(dsn, catalog, monkeypatch):
    """Also a short statement may wait for a lock that somebody else holds."""
    for name in ("UPSTREAM", "API"):
        monkeypatch.setenv(f"AIRFLOW_CONN_POSTGRES_OPENLEDGER_{name}", dsn)

    def sessions():
        return catalog.execute("select from pg_stat_activity where query = %s", [STATEMENT]).rowcount

    with subprocess.Popen([sys.executable, "-c", TASK], stdout=subprocess.PIPE, text=True) as task:
        try:
            until(sessions)
            task.send_signal(signal.SIGTERM)
            said, _ = task.communicate(timeout=40)
        finally:
            task.kill()
    assert said.endswith("stopped on request; the statement was cancelled.\n")
    until(lambda: not sessions())


def test_nothing_is_cancelled_unless_somebody_asks(dsn, catalog):
    with psycopg.connect(dsn, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero), interruptible(connection, lambda: False):
            connection.execute("select 1 / 0")
        with interruptible(connection, lambda: False):
            connection.execute("select pg_sleep(1.5)")

        def cancelled_by_somebody():
            query = "select pg_cancel_backend(%s) from pg_sleep(0.1)"
            catalog.execute(query, [connection.info.backend_pid])
            return False

        with pytest.raises(psycopg.errors.QueryCanceled), interruptible(connection, cancelled_by_somebody):
            connection.execute(STATEMENT)


def test_what_is_not_cancelled_any_more_is_the_statement_that_follows(dsn):
    """Somebody asks while a statement ends on its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        with suppress(psycopg.errors.QueryCanceled), interruptible(connection, lambda: True):
            connection.execute("select 1")
        assert connection.execute("select count(*) from generate_series(1, 100000)").fetchone() == (100000,)
