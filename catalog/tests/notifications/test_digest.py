"""The reports that wait for the daily digest, in a real database."""

import threading

import msgspec
import psycopg
import pytest

from catalog.notifications.blocks import blocks
from catalog.notifications.digest import collect, digest, waiting
from catalog.notifications.load_report import load_completion
from catalog.notifications.message import Origin
from catalog.tests.notifications.test_notifications import report
from catalog.tests.values import present
from catalog.tests.waiting import until

pytestmark = pytest.mark.database
BLOCKED = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
SAME = (
    "  - <http://x/runs/{}|{}: {} records upserted>: {}Date range _all_, Duration of data pull tasks "
    "1 hour, 3 mins, Fetched {}, Inserted {}, Updated 15, Unchanged 20, Skipped 3, Rejected 2"
)


def completion(run_id, dag_id="flickr_workflow", **changed):
    message = load_completion(dag_id, "report_load_completion", [report(**changed)], window=None)
    return msgspec.structs.replace(message, origin=Origin(run_id, f"http://x/runs/{run_id}", "http://x/log"))


def taken(connection):
    """Return the runs that a digest sends."""
    with waiting(connection) as entries:
        return [present(entry.message.origin).run_id for entry in entries]


def test_each_report_is_sent_once(catalog):
    collect(catalog, completion("a"))
    collect(catalog, completion("b"))
    assert taken(catalog) == ["a", "b"]
    collect(catalog, completion("c"))
    assert taken(catalog) == ["c"]
    assert taken(catalog) == []


def test_a_digest_that_is_not_sent_loses_nothing(catalog):
    collect(catalog, completion("a"))
    with pytest.raises(ZeroDivisionError), waiting(catalog):
        raise ZeroDivisionError
    assert taken(catalog) == ["a"]


def test_a_report_that_cannot_be_read_is_named_and_stops_no_other(catalog):
    """Such as one of another release; or one whose number is none."""
    for run_id in ("a", "b", "c"):
        collect(catalog, completion(run_id))
    catalog.execute("""update digest_entry set report = '{"title": 5}' where run_id = 'b'""")
    catalog.execute(
        "update digest_entry set report = jsonb_set(report::jsonb, '{fields,Inserted}', '\"many\"')"
        " where run_id = 'c'"
    )
    with waiting(catalog) as entries:
        message = digest("daily_digest", "send", entries)
    titles = [entry.message.title for entry in entries]
    assert titles[1] == "A report of b, which cannot be read"
    assert (len(titles), message.fields["Records updated"]) == (3, "30")
    with waiting(catalog) as entries:
        assert entries == []


def test_a_report_that_is_repeated_is_sent_again_only_if_it_differs(catalog):
    collect(catalog, completion("a"))
    collect(catalog, completion("a", inserted=59, unchanged=21))
    with waiting(catalog) as entries:
        assert [entry.message.fields["Inserted"] for entry in entries] == ["59"]
    again = completion("a", inserted=59, unchanged=21)
    other_log = msgspec.structs.replace(again.origin, log_url="http://x/log?try_number=2")
    collect(catalog, msgspec.structs.replace(again, origin=other_log))
    assert taken(catalog) == []
    collect(catalog, completion("a"))
    assert taken(catalog) == ["a"]


def test_what_another_digest_sends_is_not_sent_twice(catalog, dsn):
    collect(catalog, completion("a"))
    found = []

    def other():
        with psycopg.connect(dsn, autocommit=True) as connection:
            found.append(taken(connection))

    with waiting(catalog) as entries:
        assert len(entries) == 1
        thread = threading.Thread(target=other)
        thread.start()
        with psycopg.connect(dsn, autocommit=True) as connection:
            until(lambda: connection.execute(BLOCKED).fetchone() or not thread.is_alive())
    thread.join()
    assert found == [[]]


def test_sent_reports_are_kept_for_a_month(catalog):
    collect(catalog, completion("old"))
    collect(catalog, completion("new"))
    assert taken(catalog) == ["old", "new"]
    catalog.execute("update digest_entry set sent_on = now() - interval '31 days' where run_id = 'old'")
    taken(catalog)
    assert catalog.execute("select run_id from digest_entry").fetchall() == [("new",)]


def test_the_digest_has_a_line_and_the_numbers_of_each_run(catalog):
    collect(catalog, completion("a"))
    collect(catalog, completion("b", dag_id="met_workflow", inserted=1000, fetched=1040, replayed=True))
    with waiting(catalog) as entries:
        message = digest("daily_digest", "send_digest", entries)
    assert message.title == "Digest: 2 completed runs"
    assert message.fields == {"Records inserted": "1,060", "Records updated": "30"}
    assert message.lines == (
        SAME.format("a", "flickr_workflow", "75", "", "100", "60"),
        SAME.format("b", "met_workflow", "1,015", "REPLAY: ", "1,040", "1,000"),
    )
    assert blocks(message)


def test_only_reports_of_runs_that_did_their_work_wait():
    def waits(**changed):
        return completion("a", **changed).completion

    assert waits()
    assert waits(shortfalls=["4 items came"], accepted=True)
    assert not waits(complete=False)
    assert not waits(whole=False, shortfalls=["4 items came"])
