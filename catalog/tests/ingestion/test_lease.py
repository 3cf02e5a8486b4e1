"""The lease of a pull, on a connection that is lost, and against a newer attempt."""

import psycopg
import pytest

from catalog.core.errors import Fenced
from catalog.ingestion.lease import Lease
from catalog.tests.waiting import terminate

pytestmark = pytest.mark.database


class Connections:
    """Opens connections, and keeps them in `made`."""

    def __init__(self, dsn):
        self.dsn = dsn
        self.made: list[psycopg.Connection] = []

    def __call__(self):
        self.made.append(psycopg.connect(self.dsn, autocommit=True))
        return self.made[-1]


@pytest.fixture
def connections(dsn):
    opened = Connections(dsn)
    yield opened
    for connection in opened.made:
        connection.close()


def cut(catalog, connections):
    terminate(catalog, connections.made[-1].info.backend_pid)


def rows(catalog):
    return {task for (task,) in catalog.execute("select task from pull_lease").fetchall()}


def test_a_lost_connection_ends_no_pull(catalog, connections):
    lease = Lease("t", connections)
    lease()
    for number in (2, 3):
        cut(catalog, connections)
        lease()
        assert len(connections.made) == number
    cut(catalog, connections)
    lease.release()
    assert rows(catalog) == set()


def test_a_newer_attempt_is_noticed_on_a_new_connection(catalog, connections):
    older = Lease("t", connections)
    cut(catalog, connections)
    newer = Lease("t", connections)
    assert newer.number > older.number
    with pytest.raises(Fenced):
        older()
    newer()
    older.release()  # takes nothing from the newer one
    newer()


def test_a_lease_knows_the_time_of_the_database(catalog, connections):
    """A worker's clock may be wrong."""
    lease = Lease("t", connections)
    times = [lease.renewed_on]
    for _ in range(2):
        lease()
        times.append(lease.renewed_on)
    [(now,)] = catalog.execute("select renewed_on from pull_lease").fetchall()
    assert times == sorted(set(times))
    assert times[-1] == now


def test_a_lease_that_is_gone_fences(catalog, connections):
    lease = Lease("t", connections)
    catalog.execute("delete from pull_lease")
    cut(catalog, connections)
    with pytest.raises(Fenced):
        lease()


def test_leases_of_pulls_that_failed_for_good_go(catalog, connections):
    for days in (1, 29, 31, 400):
        catalog.execute(
            "insert into pull_lease values (%s, gen_random_uuid(), now() - make_interval(days => %s))",
            [f"failed {days} days ago", days],
        )
    Lease("t", connections)
    assert rows(catalog) == {"t", "failed 1 days ago", "failed 29 days ago"}


def test_numbers_go_beyond_what_was_written_before_the_database_was_restored(catalog, connections):
    """The sequence is behind then. Each attempt still gets a number of its own."""
    catalog.execute("select setval('pull_attempt', 5)")
    numbers = [Lease(task, connections, above).number for task, above in (("t", 50), ("u", 50), ("v", 3))]
    assert numbers == [51, 52, 53]
