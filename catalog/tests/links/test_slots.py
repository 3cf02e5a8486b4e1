"""Slots of hosts in the database: one statement for a request that waits for nothing."""

from itertools import pairwise
from typing import Any

import pytest

from catalog.links.pauses import Pauses, PauseTable
from catalog.links.slots import SharedSlots
from catalog.tests.links.site import Clock

pytestmark = pytest.mark.database
HOST, OTHER = "a.example", "b.example"


class Counted:
    """A connection that counts its statements."""

    def __init__(self, connection):
        self._connection, self.statements, self.closed = connection, 0, False

    def execute(self, query, values=None):
        self.statements += 1
        return self._connection.execute(query, values)


def pauses_of(connection, survey, clock):
    return Pauses(PauseTable(lambda: connection, survey), survey, clock.now)


def test_tasks_share_the_rate_of_a_host(catalog):
    """Each request takes a slot of its host in the database, whichever task sends it."""
    waits: list[float] = []
    for survey in ("one", "other"):
        slots = SharedSlots(lambda: catalog, 0.5, pauses_of(catalog, survey, Clock()), waits.append)
        assert [slots(HOST, 0.0) for _ in range(5)] == [0.0] * 5
    assert all(later - earlier > 1.5 for earlier, later in pairwise(waits))
    assert waits[-1] > 17
    keys = "select key from rate_limit"
    assert catalog.execute(keys).fetchall() == [(f"links of {HOST}",)]


def test_the_delay_that_a_host_asks_for_is_kept(catalog):
    waits: list[float] = []
    slots = SharedSlots(lambda: catalog, 100.0, pauses_of(catalog, "one", Clock()), waits.append)
    for _ in range(3):
        slots(HOST, 20.0)
    assert [round(wait, -1) for wait in waits] == [20, 40]


def test_a_slot_and_a_pause_that_no_host_asks_for_are_not_kept(catalog):
    """They are of a time when a clock was wrong; the host is asked, and what it asks for then is kept."""
    waits: list[float] = []
    pauses = pauses_of(catalog, "one", Clock())
    slots = SharedSlots(lambda: catalog, 1.0, pauses, waits.append)
    assert slots(HOST, 0.0) == 0
    pauses.begin(HOST, asked=True, least=600.0)
    for change in (
        "update rate_limit set next_slot = now() + interval '400 days'",
        "update link_pause set paused_until = paused_until + interval '400 days'",
    ):
        catalog.execute(change)
    later = pauses_of(catalog, "two", Clock())
    assert SharedSlots(lambda: catalog, 1.0, later, waits.append)(HOST, 0.0) == 0
    assert waits == []
    later.begin(HOST, asked=True, least=600.0)
    assert SharedSlots(lambda: catalog, 1.0, later, waits.append)(HOST, 0.0) == pytest.approx(600)


def test_a_slot_and_its_pause_cost_one_statement(catalog):
    clock = Clock()
    counted: Any = Counted(catalog)
    slots = SharedSlots(lambda: counted, 100.0, pauses_of(counted, "one", clock), clock.sleep)
    pauses_of(catalog, "other", clock).begin(HOST, asked=True, least=600.0)
    counted.statements = 0
    assert slots(HOST, 0.0) == pytest.approx(600)
    assert slots(OTHER, 0.0) == 0
    assert counted.statements == 2


def test_a_pause_that_begins_while_a_task_waits_for_its_slot_is_kept(catalog):
    clock = Clock()
    other = pauses_of(catalog, "other", clock)

    def sleep(seconds):
        other.begin(HOST, asked=True, least=600.0)

    slots = SharedSlots(lambda: catalog, 0.1, pauses_of(catalog, "one", clock), sleep)
    assert slots(HOST, 0.0) == 0
    assert slots(HOST, 0.0) == pytest.approx(600)
