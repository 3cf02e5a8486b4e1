"""Decisions of moderators that are gone: all, those that an older backup lacks, or exchanged for others."""

from typing import Any

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.moderation.remembered import Remembered, lost, refuse_lost, remember
from catalog.moderation.tables import Decision

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
COLUMNS = {"deleted": "created_on, updated_on, identifier", "mature": "created_on, identifier"}


LAST_MONTH = "now() - interval '30 days'"


def decide(api: psycopg.Connection[Any], kind: Decision, number: int, first: str = LAST_MONTH) -> None:
    """Let moderators decide about a number of records, one each second."""
    moment = f"{first} + n * interval '1 second'"
    values = f"{moment}, {moment}" if kind == "deleted" else moment
    api.execute(
        f"insert into api_{kind}image ({COLUMNS[kind]})"
        f" select {values}, gen_random_uuid() from generate_series(1, %s) n",
        [number],
    )


def forget(api: psycopg.Connection[Any], kind: Decision, order: str, number: int) -> None:
    api.execute(
        f"delete from api_{kind}image where identifier in"
        f" (select identifier from api_{kind}image order by {order} limit %s)",
        [number],
    )


@pytest.fixture(params=["deleted", "mature"])
def kind(request):
    return request.param


def test_the_number(api, kind):
    decide(api, kind, 410)
    before = remember(api, "image")
    refuse_lost(api, "image", before)
    api.execute(f"delete from api_{kind}image")
    message = (
        rf"^the API's table api_{kind}image has 0 records, it had 410, and lacks 200 of 200 sampled ones: .*"
        r"would be shown again\. Restore the table, unless its records were taken back on purpose\.$"
    )
    with pytest.raises(Fatal, match=message):
        refuse_lost(api, "image", before)
    refuse_lost(api, "image", remember(api, "image"))  # of a run that accepts it


def test_what_another_sample_lacks_is_another_loss(api, kind):
    """Half of them were reported; a quarter of the others may be lost afterwards, which was not."""
    decide(api, kind, 400)
    before = remember(api, "image")
    forget(api, kind, "md5(identifier::text)", 200)
    [reported] = lost(api, "image", before, newest=False)
    decide(api, kind, 100)
    before = remember(api, "image")
    forget(api, kind, "md5(identifier::text)", 50)
    [found] = lost(api, "image", before, newest=False)
    assert found.subject != reported.subject


def test_others_in_their_place(api, kind):
    decide(api, kind, 250)
    before = remember(api, "image")
    api.execute(f"delete from api_{kind}image")
    decide(api, kind, 260, "timestamptz '2020-01-01'")
    with pytest.raises(Fatal, match=f"api_{kind}image has 260 .* had 250, and lacks 200 of 200 sampled"):
        refuse_lost(api, "image", before)


def test_an_older_backup(api, kind):
    decide(api, kind, 420)
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 20)
    lacks = f"api_{kind}image lacks 20 of the 20 newest records that it had, as an older backup does"
    with pytest.raises(Fatal, match=lacks):
        refuse_lost(api, "image", before)
    refuse_lost(api, "image", before, newest=False)  # within a run, somebody undid them


def test_an_older_backup_after_which_some_are_decided_again(api, kind):
    decide(api, kind, 420)
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 19)
    values = "now(), now()" if kind == "deleted" else "now()"
    api.execute(
        f"insert into api_{kind}image ({COLUMNS[kind]}) select {values}, unnest(%s::uuid[])",
        [before[kind].newest[:5]],
    )
    with pytest.raises(Fatal, match=f"api_{kind}image lacks 14 of the 20 newest"):
        refuse_lost(api, "image", before)


@pytest.mark.parametrize(
    ("dated", "forgotten"),
    [
        ("now() + interval '1 year'", "created_on > now(), created_on desc"),  # the newest of the others
        ("now() + interval '31 hours'", "created_on desc"),  # those of a clock that is wrong now
    ],
)
def test_decisions_of_a_wrong_clock_are_remembered_beside_the_newest(api, kind, dated, forgotten):
    decide(api, kind, 400)
    decide(api, kind, 30, dated)
    before = remember(api, "image")
    forget(api, kind, forgotten, 10)
    with pytest.raises(Fatal, match=f"api_{kind}image lacks 10 of the 40 newest"):
        refuse_lost(api, "image", before)


def test_decisions_of_another_time_zone_are_the_newest(api, kind):
    decide(api, kind, 400)
    decide(api, kind, 20, "now() + interval '9 hours'")
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 20)
    with pytest.raises(Fatal, match=f"api_{kind}image lacks 20 of the 20 newest"):
        refuse_lost(api, "image", before)


@pytest.mark.parametrize(("number", "gone"), [(0, 0), (2, 2), (3, 2), (9, 8), (12, 2), (50, 9)])
def test_few_decisions_may_be_taken_back(api, kind, number, gone):
    decide(api, kind, number)
    before = remember(api, "image")
    forget(api, kind, "created_on desc", gone)
    refuse_lost(api, "image", before)


@pytest.mark.parametrize("number", [3, 9])
def test_a_table_of_few_decisions_that_is_empty_is_missed(api, kind, number):
    decide(api, kind, number)
    before = remember(api, "image")
    api.execute(f"delete from api_{kind}image")
    said = f"api_{kind}image has 0 records, it had {number}, and lacks {number} of {number} sampled"
    with pytest.raises(Fatal, match=said):
        refuse_lost(api, "image", before)


def test_ten_decisions_are_missed(api, kind):
    decide(api, kind, 12)
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 10)
    with pytest.raises(Fatal, match=f"api_{kind}image has 2 records, it had 12, and lacks 10 of 12 sampled"):
        refuse_lost(api, "image", before)


@pytest.mark.parametrize("number", [20, 500])
def test_marked_records_may_be_deleted(api, number):
    """They stay hidden; the other way round, they do not."""
    decide(api, "mature", number)
    before = remember(api, "image")
    api.execute(
        "with marked as (delete from api_matureimage returning identifier)"
        " insert into api_deletedimage (created_on, updated_on, identifier)"
        " select now(), now(), identifier from marked"
    )
    refuse_lost(api, "image", before)
    before = remember(api, "image")
    api.execute(
        "with deleted as (delete from api_deletedimage returning identifier)"
        " insert into api_matureimage (created_on, identifier) select now(), identifier from deleted"
    )
    with pytest.raises(Fatal, match=f"api_deletedimage has 0 records, it had {number}"):
        refuse_lost(api, "image", before)


def test_what_an_earlier_release_remembers(api, kind):
    """It is the same with fewer keys: 100 of a sample, and the 10 newest ones."""
    decide(api, kind, 400)
    known = remember(api, "image")[kind]
    before = {kind: Remembered(400, known.sample[:100], known.newest[:10])}
    forget(api, kind, "created_on desc", 9)
    refuse_lost(api, "image", before)
    forget(api, kind, "created_on desc", 1)
    with pytest.raises(Fatal, match="lacks 10 of the 10 newest"):
        refuse_lost(api, "image", before)


def test_some_of_many_may_be_taken_back_and_new_ones_made(api, kind):
    decide(api, kind, 400)
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 9)
    forget(api, kind, "created_on", 8)
    decide(api, kind, 300)
    refuse_lost(api, "image", before)
