"""Numbers of records, on a real database."""

import pytest

from catalog.database import sample_data
from catalog.monitoring import counts

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


def test_records_of_small_tables_are_counted(catalog):
    """They are counted also before a table has been analyzed, as after a demo."""
    catalog.execute("alter table image set (autovacuum_enabled = off)")
    sample_data.fill(catalog, "catalog", 2000)
    catalog.execute("delete from pg_statistic where starelid in ('image'::regclass, 'audio'::regclass)")
    exact = dict(catalog.execute("select provider, count(*) from image group by 1").fetchall())
    found = counts.records(catalog)
    assert {provider: number for (media, provider), number in found.items() if media == "image"} == exact
    assert sum(number for (media, _), number in found.items() if media == "audio") == 200


def test_records_of_large_tables_are_estimated(catalog, monkeypatch):
    monkeypatch.setattr(counts, "COUNTED", 0)
    sample_data.fill(catalog, "catalog", 2000)
    found = counts.records(catalog)
    image = {provider: number for (media, provider), number in found.items() if media == "image"}
    exact = dict(catalog.execute("select provider, count(*) from image group by 1").fetchall())
    assert image == pytest.approx(exact, abs=5)


def test_an_empty_catalog(catalog):
    assert counts.records(catalog) == {}
