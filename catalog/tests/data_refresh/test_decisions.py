"""Decisions of moderators that are gone: all, those that an older backup lacks, or exchanged for others."""

from typing import Any

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.decisions import Decision, refuse_lost, remember

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
COLUMNS = {"deleted": "created_on, updated_on, identifier", "mature": "created_on, identifier"}


def decide(api: psycopg.Connection[Any], kind: Decision, number: int, first: str = "now()") -> None:
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
    refuse_lost(api, "image", before, "image_data_refresh")
    api.execute(f"delete from api_{kind}image")
    message = (
        rf"^the API's table api_{kind}image has 0 records, it had 410: .*would be shown again\. Restore the "
        r'table.*trigger image_data_refresh with the conf {"accept_shrinkage": true}\.$'
    )
    with pytest.raises(Fatal, match=message):
        refuse_lost(api, "image", before, "image_data_refresh")
    refuse_lost(api, "image", remember(api, "image"), "image_data_refresh")  # of a run that accepts it


def test_others_in_their_place(api, kind):
    decide(api, kind, 250)
    before = remember(api, "image")
    api.execute(f"delete from api_{kind}image")
    decide(api, kind, 260, "timestamptz '2020-01-01'")
    with pytest.raises(Fatal, match=f"api_{kind}image lacks 100 of 100 sampled records that it had"):
        refuse_lost(api, "image", before, "image_data_refresh")


def test_an_older_backup(api, kind):
    decide(api, kind, 400)
    decide(api, kind, 20, "now() + interval '1 day'")
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 20)
    with pytest.raises(Fatal, match=f"api_{kind}image lacks the 10 newest records that it had, as an older"):
        refuse_lost(api, "image", before, "image_data_refresh")
    refuse_lost(api, "image", before, "image_data_refresh", newest=False)  # within a run, somebody undid them


@pytest.mark.parametrize("number", [0, 1, 9])
def test_few_decisions_may_be_taken_back(api, kind, number):
    decide(api, kind, number)
    before = remember(api, "image")
    api.execute(f"delete from api_{kind}image")
    refuse_lost(api, "image", before, "image_data_refresh")


def test_some_of_many_may_be_taken_back_and_new_ones_made(api, kind):
    decide(api, kind, 400)
    before = remember(api, "image")
    forget(api, kind, "created_on desc", 9)
    forget(api, kind, "md5(identifier::text)", 2)
    decide(api, kind, 300)
    refuse_lost(api, "image", before, "image_data_refresh")
