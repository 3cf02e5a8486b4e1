"""Numbers of records, on a real database."""

import pytest

from catalog.database import sample_data
from catalog.monitoring import counts
from catalog.monitoring.counts import Number

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


def numbers(records, media_type):
    return {name: n.value for (media, name), n in records.by_provider.items() if media == media_type}


def test_records_of_small_tables_are_counted(catalog):
    """They are counted also before a table has been analyzed, as after a demo."""
    catalog.execute("alter table image set (autovacuum_enabled = off)")
    sample_data.fill(catalog, "catalog", 2000)
    catalog.execute("delete from pg_statistic where starelid in ('image'::regclass, 'audio'::regclass)")
    exact = dict(catalog.execute("select provider, count(*) from image group by 1").fetchall())
    found = counts.records(catalog)
    assert numbers(found, "image") == exact
    assert found.totals == {"image": Number(2000, True), "audio": Number(200, True)}
    assert found.of("image", "nobody") == Number(0, True)


def test_records_of_large_tables_are_estimated(catalog, monkeypatch):
    monkeypatch.setattr(counts, "COUNTED", 0)
    sample_data.fill(catalog, "catalog", 2000)
    found = counts.records(catalog)
    exact = dict(catalog.execute("select provider, count(*) from image group by 1").fetchall())
    assert numbers(found, "image") == pytest.approx(exact, abs=5)
    assert str(found.totals["image"]) == "about 2,000"


def test_a_provider_that_an_estimate_lacks_is_not_said_to_have_nothing(catalog, monkeypatch):
    monkeypatch.setattr(counts, "COUNTED", 0)
    catalog.execute("alter table image set (autovacuum_enabled = off)")
    sample_data.fill(catalog, "catalog", 2000)
    catalog.execute("update image set provider = 'rare' where ctid = (select ctid from image limit 1)")
    assert str(counts.records(catalog).of("image", "rare")) == "unknown"
    catalog.execute("delete from pg_statistic where starelid = 'image'::regclass")
    catalog.execute("update pg_class set reltuples = -1 where oid = 'image'::regclass")
    assert str(counts.records(catalog).totals["image"]) == "unknown"


def test_an_empty_catalog(catalog):
    found = counts.records(catalog)
    assert (found.by_provider, str(found.totals["image"])) == ({}, "0")
