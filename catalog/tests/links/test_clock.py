"""The time of checks is the database's."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from catalog.links.clock import database_clock
from catalog.local.stack import ROOT
from catalog.tests.links.site import Clock


@pytest.mark.database
def test_the_clock_is_set_by_the_database_and_goes_on_by_itself(catalog):
    catalog.execute(
        "create schema others; create function others.clock_timestamp() returns timestamptz language sql"
        " as $$ select timestamptz '2001-02-03 04:05Z' $$; set search_path = others, pg_catalog"
    )
    seconds = Clock()
    now = database_clock(catalog, seconds.time)
    catalog.execute("reset search_path")
    assert now() == datetime(2001, 2, 3, 4, 5, tzinfo=UTC)
    seconds.sleep(90)
    assert now() == datetime(2001, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=90)


def test_no_clock_of_a_worker_is_read():
    """It would make four weeks of a few days, and keep records removed."""
    files = [*(ROOT / "catalog/links").glob("*.py"), ROOT / "catalog/dags/check_links.py"]
    assert len(files) > 10
    read = re.compile(r"datetime\.now|utcnow|time\.time\(")
    assert [file.name for file in files if read.search(file.read_text("utf-8"))] == []
