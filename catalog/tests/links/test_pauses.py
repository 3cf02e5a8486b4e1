"""Pauses in the database: what one task hears, all keep, also after it was killed."""

import pytest

from catalog.core.errors import Later
from catalog.links import answers
from catalog.links.pauses import Pause, Pauses, PauseTable
from catalog.links.plan import Survey, plan
from catalog.links.survey import check_links
from catalog.tests.database.media import fill
from catalog.tests.links.site import BEGIN, MISSING, THERE, Clock, Reply, checker, site
from catalog.tests.values import present

pytestmark = pytest.mark.database


@pytest.mark.enable_socket
def test_tasks_share_the_pause_of_a_host_and_remember_it(catalog):
    """Two slices of a provider whose host asks to wait for twenty minutes, then answers."""
    clock = Clock()

    def reply(method, path):
        if path == "/robots.txt":
            return MISSING
        return Reply(429, {"Retry-After": "1200"}) if clock.time() < 1000 else THERE

    def attempt(number):
        one = Survey("run", "image", "b", number, 2)
        plan(catalog, one, now=clock.now(), size=0, again=0)
        pauses = Pauses(PauseTable(lambda: catalog, str(one)), str(one), clock.now)
        check = checker(clock, paused=pauses.remaining).check
        check_links(
            catalog, one, check, pauses, now=clock.now, clock=clock.time, sleep=clock.sleep, workers=1
        )

    with site(reply, clock) as server:
        fill(catalog, 30, ("b",))
        catalog.execute("update image set url = %s || title", [server.url("/").replace(" ", "")])
        for number in (1, 2, 1):  # the third one is the first task again, after it was killed
            with pytest.raises(Later, match=r"links wait\.") as later:
                attempt(number)
            assert (later.value.resumes_at - BEGIN).total_seconds() == pytest.approx(1200, abs=5)
        assert len([path for _, _, _, path in server.requests if path != "/robots.txt"]) == 1
        clock.go_to(seconds=1300)
        for number in (1, 2):
            attempt(number)
    outcomes = "select outcome, count(*) from link_check group by 1"
    assert catalog.execute(outcomes).fetchall() == [("there", 30)]
    assert catalog.execute("select count(*) from link_pause").fetchone() == (0,)


@pytest.mark.enable_socket
def test_records_that_are_not_asked_are_not_checked_and_never_gone(catalog):
    """A host that asks for more than a run waits; no controls of it are requested."""
    clock = Clock()
    replies = {"/robots.txt": MISSING}
    with site(lambda method, path: replies.get(path, Reply(429, {"Retry-After": "99999"})), clock) as server:
        fill(catalog, 30, ("b",))
        catalog.execute("update image set url = %s || foreign_identifier", [server.url("/")])
        one = Survey("run", "image", "b")
        plan(catalog, one, now=clock.now(), size=10, again=0)
        pauses = Pauses(PauseTable(lambda: catalog, "run"), "run", clock.now)
        check = checker(clock, paused=pauses.remaining).check
        check_links(
            catalog, one, check, pauses, now=clock.now, clock=clock.time, sleep=clock.sleep, workers=1
        )
    found = catalog.execute("select outcome, reason, purpose, count(*) from link_check group by 1, 2, 3")
    assert found.fetchall() == [("unclear", answers.PAUSED, "sample", 10)]


def test_of_two_answers_at_the_same_time_the_longer_pause_counts(catalog):
    clock = Clock()
    tables = [PauseTable(lambda: catalog, name) for name in ("one", "other")]
    long, short = (Pause(clock.now().replace(hour=hour), 1, 60.0) for hour in (9, 8))
    for table, pause in zip(tables, (long, short), strict=True):
        table["a", ""] = pause
    assert {present(table.get(("a", ""))).until for table in tables} == {long.until}
    tables[0]["a", "one"] = short
    assert [dict(table) for table in tables] == [{("a", "one"): short}, {}]
    del tables[0]["a", "one"]
    assert dict(tables[0]) == {}
