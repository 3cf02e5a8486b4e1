"""`check_links` through the real scheduler: runs that are killed, that remove records, and that wait."""

import signal
from collections import Counter

import pytest

from catalog.links.controls import ASKED_AGAIN
from catalog.local.schedules import unpaused
from catalog.tests.database.media import IMAGES
from catalog.tests.links.site import MISSING, THERE, Reply, site
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
DAG, ROWS, GONE = "check_links", 120, {3, 50, 77, *range(101, 111)}  # more than a tenth
OTHERS = """
    select md5(string_agg(i::text, '' order by title)) from image i
     where provider = 'made_up_links' and title <> all(array['Title 3', 'Title 50'])
"""
BEFORE = """
    insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host, checked_on,
                            outcome, judged)
    select 'before ' || weeks, 'image', provider, 0, 'sample', identifier, url, '127.0.0.1',
           now() - weeks * interval '1 week', 'gone', true
      from image, unnest(array[5, 3]) weeks
     where provider = 'made_up_links' and title = any(%s)
"""


class Files:
    """What the server answers, and how long it takes.

    Each check sends a HEAD, and some a GET besides; only the former are counted.
    """

    def __init__(self):
        self.gone, self.after, self.asked = set(GONE), 0.0, Counter[str]()
        self.left: int | None = None  # checks before the server asks to wait; None: it does not

    def __call__(self, method, path):
        if path == "/robots.txt":
            return Reply(200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /never/\n")
        if method == "HEAD":
            self.asked[path] += 1
            if self.left == 0:
                return Reply(429, {"Retry-After": "1200"})
            if self.left is not None:
                self.left -= 1
        number = int(path.strip("/"))
        reply = MISSING if number in self.gone else THERE
        return Reply(reply.status, reply.headers, reply.body, self.after)


@pytest.fixture
def files(bench):
    """Images of a provider whose files are on a server of this machine."""
    answers = Files()
    with (
        site(answers) as server,
        bench.catalog() as connection,
        bench.variable("LINK_CHECK_PRIVATE_HOSTS", '["127.0.0.1"]'),
        bench.variable("LINK_CHECK_RATE", "500"),
        unpaused(bench.stack, [DAG], print),
    ):
        connection.execute(IMAGES.format(rows=ROWS, providers="'made_up_links'"))
        connection.execute(
            "update image set url = %s || substr(title, 7) where provider = 'made_up_links'",
            [server.url("/")],
        )
        try:
            yield answers, connection
        finally:
            connection.execute("delete from image where provider = 'made_up_links'")
            for table in ("link_check", "link_removal", "link_survey"):
                connection.execute(f"delete from {table} where provider = 'made_up_links'")
            connection.execute("delete from rate_limit where key = 'links of 127.0.0.1'")
            connection.execute("delete from link_pause where host = '127.0.0.1'")


def report(bench):
    return [m["text"] for m in bench.slack if m["username"] == "Link Check"][-1]


def marked(connection):
    query = "select substr(title, 7)::int from image where provider = 'made_up_links' and removed_from_source"
    return {number for (number,) in connection.execute(query)}


def number_of(connection, query):
    return connection.execute(query).fetchone()[0]


def a_week_later(connection):
    for table, columns in (
        ("link_check", ["checked_on"]),
        ("link_removal", ["first_gone_on", "last_gone_on", "removed_on", "checked_on"]),
    ):
        earlier = ", ".join(f"{column} = {column} - interval '1 week'" for column in columns)
        connection.execute(f"update {table} set {earlier} where provider = 'made_up_links'")


def test_what_is_gone_is_removed_and_comes_back(bench, files):
    answers, connection = files
    bench.slack.clear()
    connection.execute(BEFORE, [[f"Title {n}" for n in GONE]])
    conf = {"provider": "made_up_links", "margin": 20, "again": 20}

    answers.after = 0.3
    run_id = bench.api.trigger(DAG, {**conf, "margin": 5})
    until(lambda: sum(answers.asked.values()) > 5)
    bench.process_behind("query like '%link_check%'").send_signal(signal.SIGKILL)
    answers.after = 0.0
    # These are too many to be removed; they are counted, and the estimate is made.
    assert bench.api.wait(DAG, run_id, 400) == "failed", bench.tasks(DAG, run_id)
    assert marked(connection) == set()
    assert "13 records would be removed because their files are gone: 10.8% of 120" in bench.api.log(
        DAG, run_id, "survey_links.judge", map_index=0
    )
    text = report(bench)
    assert f"{ROWS} links checked: 13 are gone, 0 are unclear. 0 records removed, 0 brought back." in text
    assert "made_up_links, image: 10.8 % gone (95 %: 6.4 to 17.7)" in text
    assert "13 would be removed, which is more than usual" in text
    attempts = {t["task_id"]: t["try_number"] for t in bench.api.tasks(DAG, run_id)}
    assert attempts["survey_links.check"] == 2
    # What the first attempt had checked, the second did not check again, but for a few that were there.
    often = [path for path, number in answers.asked.items() if number > 1]
    assert ASKED_AGAIN <= len(often) <= ASKED_AGAIN + 1

    accepted, state = bench.run(DAG, {**conf, "accept_removals": True}, timeout=400)
    assert state == "success", bench.tasks(DAG, accepted)
    assert marked(connection) == GONE
    assert "13 records removed, 0 brought back." in report(bench)

    # Another run removes nothing more, and files come back by their second answer.
    before = number_of(connection, OTHERS)
    a_week_later(connection)
    answers.gone -= {3, 50}
    again, state = bench.run(DAG, conf, timeout=400)
    assert state == "success", bench.tasks(DAG, again)
    assert marked(connection) == GONE
    assert "0 records removed, 0 brought back." in report(bench)

    # Airflow makes a deleted run again with its id: it checks the links itself.
    a_week_later(connection)
    asked = sum(answers.asked.values())
    assert bench.make_again(DAG, again, conf, timeout=400) == "success", bench.tasks(DAG, again)
    assert sum(answers.asked.values()) > asked + 10
    assert marked(connection) == GONE - {3, 50}
    assert "0 records removed, 2 brought back." in report(bench)
    assert before == number_of(connection, OTHERS)

    # Concluding the old run again, which was refused, acts on nothing that the newer ones overrule.
    bench.api.clear(DAG, run_id, ["survey_links.judge", "report"])
    assert bench.api.wait(DAG, run_id, 400) == "success"
    assert marked(connection) == GONE - {3, 50}

    wrong, state = bench.run(DAG, {"provider": "nobody"}, timeout=200)
    assert state == "failed"
    assert "no record in the catalog has the provider 'nobody'" in bench.api.log(DAG, wrong, "choose")


def test_a_task_that_would_only_wait_gives_up_its_slot_and_goes_on(bench, files):
    answers, connection = files
    answers.gone.clear()
    checked = "select count(*) from link_check where provider = 'made_up_links' and checked_on is not null"

    def check():
        return next(t for t in bench.api.tasks(DAG, run_id) if t["task_id"] == "survey_links.check")

    answers.left = 5
    run_id = bench.api.trigger(DAG, {"provider": "made_up_links", "margin": 20, "again": 0})
    until(lambda: check()["state"] == "up_for_reschedule", 120)
    assert (number_of(connection, checked), sum(answers.asked.values())) == (5, 6)
    pause = "select extract(epoch from paused_until - now()) from link_pause where host = '127.0.0.1'"
    assert 1100 < number_of(connection, pause) <= 1200

    # Twenty minutes later, it goes on by itself, and has to wait once more.
    answers.left = 5
    connection.execute("update link_pause set paused_until = now() where host = '127.0.0.1'")
    with bench.database("airflow") as airflow:
        airflow.execute(
            "update task_reschedule r set reschedule_date = now() + interval '5 seconds' from task_instance t"
            " where t.id = r.ti_id and t.dag_id = %s and t.run_id = %s",
            [DAG, run_id],
        )
    until(lambda: number_of(connection, checked) == 10 and check()["state"] == "up_for_reschedule", 120)
    assert sum(answers.asked.values()) == 12

    # Somebody who has talked to the operators of the host does not wait; see the runbook.
    answers.left = None
    connection.execute("delete from link_pause where host = '127.0.0.1'")
    bench.api.clear(DAG, run_id, ["survey_links.check"])
    assert bench.api.wait(DAG, run_id, 300) == "success", bench.tasks(DAG, run_id)
    # Each file once, and once more for each refusal; by chance, one file is refused twice.
    assert sum(answers.asked.values()) == number_of(connection, checked) + 2
    assert "links checked: 0 are gone, 0 are unclear." in report(bench)
