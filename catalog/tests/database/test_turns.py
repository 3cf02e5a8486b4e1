"""Two conflicting runs never both hold a turn, in whatever order they start, fail or are cleared."""

import threading

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.core.errors import Refused
from catalog.database.turns import Turn, current, kept, take

CONFLICTS = {
    "image_data_refresh": ("audio_data_refresh", "create_filtered_image_index"),
    "audio_data_refresh": ("image_data_refresh", "create_filtered_audio_index"),
    "create_filtered_image_index": ("image_data_refresh",),
    "create_filtered_audio_index": ("audio_data_refresh",),
}


def attempt(connection, dag_id, run_id="1", active=()):
    return take(connection, dag_id, run_id, CONFLICTS[dag_id], lambda *run: run in active)


def holds(connection, dag_id, run_id="1"):
    try:
        return bool(current(connection, dag_id, run_id))
    except Refused:
        return False


def test_the_second_waits_until_the_first_has_ended(catalog):
    first = attempt(catalog, "image_data_refresh")
    assert isinstance(first, Turn)
    busy = attempt(catalog, "audio_data_refresh", active={("image_data_refresh", "1")})
    assert busy == ["image_data_refresh (run 1)"]
    assert isinstance(
        attempt(catalog, "create_filtered_audio_index", active={("image_data_refresh", "1")}), Turn
    )
    assert current(catalog, "image_data_refresh", "1") == first


def test_a_failed_run_keeps_its_turn_until_another_begins(catalog):
    first = attempt(catalog, "image_data_refresh")
    assert current(catalog, "image_data_refresh", "1") == first
    attempt(catalog, "create_filtered_image_index", "2")
    with pytest.raises(
        Refused, match=r"create_filtered_image_index \(run 2\) began after this run had ended"
    ):
        current(catalog, "image_data_refresh", "1")
    with pytest.raises(Refused, match="was given up"), kept(catalog, first):
        pass
    again = attempt(catalog, "image_data_refresh")
    assert again.number > first.number
    assert current(catalog, "image_data_refresh", "1") == again


def test_another_run_of_the_same_dag_conflicts(catalog):
    attempt(catalog, "image_data_refresh", "1")
    assert attempt(catalog, "image_data_refresh", "2", active={("image_data_refresh", "1")}) == [
        "image_data_refresh (run 1)"
    ]
    attempt(catalog, "image_data_refresh", "2")
    assert not holds(catalog, "image_data_refresh", "1")


def test_a_run_that_never_took_a_turn(catalog):
    with pytest.raises(Refused, match="has no turn; clear the run from its first task on"):
        current(catalog, "image_data_refresh", "1")


def test_a_turn_that_is_kept_cannot_be_given_up(catalog, dsn):
    """A run that seems dead is in the middle of its promotion: the next run waits for its end."""
    turn = attempt(catalog, "image_data_refresh")
    taken = []
    with psycopg.connect(dsn, autocommit=True) as other:
        thread = threading.Thread(target=lambda: taken.append(attempt(other, "audio_data_refresh")))
        with kept(catalog, turn):
            thread.start()
            thread.join(0.3)
            assert thread.is_alive()
            assert not taken
        thread.join(30)
    assert isinstance(taken[0], Turn)
    assert not holds(catalog, "image_data_refresh")


def test_many_runs_at_once(dsn):
    """Of several runs that check at the same moment, one gets the turn."""
    got, at_once = [], threading.Barrier(6)

    def begin(number):
        with psycopg.connect(dsn, autocommit=True) as connection:
            at_once.wait()
            taken = take(connection, "image_data_refresh", str(number), (), lambda *_: True)
            got.append(isinstance(taken, Turn))

    threads = [threading.Thread(target=begin, args=[n]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 5 + [True]


STEP = st.tuples(
    st.sampled_from(sorted(CONFLICTS)),
    st.sampled_from("12"),
    st.sampled_from(["begin", "fail", "clear", "restart"]),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=25))
def test_never_two_conflicting_runs_at_work(server_catalog, steps):
    """However runs begin, fail and are cleared, at most one of several conflicting runs may change data."""
    server_catalog.execute("truncate turn cascade")
    running: set[tuple[str, str]] = set()
    for dag_id, run_id, step in steps:
        run = (dag_id, run_id)
        if step == "fail":
            running.discard(run)
        elif step == "clear":  # one task, which proves the turn before it works
            if holds(server_catalog, *run):
                running.add(run)
        elif run not in running or step == "restart":
            if isinstance(attempt(server_catalog, *run, active=running), Turn):
                running.add(run)
            else:
                running.discard(run)
        at_work = {other for other in running if holds(server_catalog, *other)}
        assert not [
            (a, b) for a in at_work for b in at_work if a < b and (b[0] in CONFLICTS[a[0]] or a[0] == b[0])
        ]


@pytest.fixture(scope="module")
def server_catalog(server):
    from catalog.tests.conftest import database_of_its_own

    with psycopg.connect(database_of_its_own(server, "migrated"), autocommit=True) as connection:
        yield connection
