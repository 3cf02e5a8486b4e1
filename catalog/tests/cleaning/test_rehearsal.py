"""An older catalog with every kind of dirt is checked, adopted, cleaned, loaded into, scored and searched."""

from pathlib import Path

import pytest

from catalog.core.media import MEDIA_TYPES
from catalog.tests.cleaning.rehearsal import Rehearsal, not_cleaned
from catalog.tests.conftest import database_of_its_own

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
ROWS = 4000


def test_an_older_catalog_becomes_a_clean_one(server, api_dsn, search, tmp_path: Path):
    rehearsal = Rehearsal(database_of_its_own(server, "template0"), api_dsn, search, tmp_path, print)
    rehearsal.old(ROWS)
    with rehearsal.connected() as connection:
        assert not_cleaned(connection, "image").keys() == {2, 4, 6, 8, 10, 12, 16, 18, 24}
        before = connection.execute("select count(*) from image").fetchone()
    rehearsal.check()
    rehearsal.adopt()
    rehearsal.clean()
    # Rules see what earlier ones have changed, and duplicates have been moved; otherwise the check was right.
    assert rehearsal.changed.keys() == {*rehearsal.surveyed}
    for name in (("image", "meta_data"), ("image", "escapes"), ("audio", "numbers")):
        assert abs(rehearsal.changed[name] - rehearsal.surveyed[name][0]) <= 4
    assert all(rehearsal.changed.values())
    assert not any(rehearsal.again.values())
    with rehearsal.connected() as connection:
        for media in MEDIA_TYPES:
            assert not_cleaned(connection, media) == {}
        moved = connection.execute(
            "select (select count(*) from image) + (select count(*) from image_duplicates)"
            " + (select count(*) from deleted_image)"
        ).fetchone()
    assert moved == before
    report = rehearsal.ingest(400)
    assert (report.inserted, report.updated, report.rejected) == (200, 200, {})
    assert rehearsal.popularity() > 0
    assert rehearsal.refresh() > ROWS * 0.9
    assert rehearsal.found("bridge river") > ROWS // 40
