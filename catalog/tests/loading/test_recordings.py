"""The recordings of all providers, loaded twice."""

from collections import Counter

import orjson
import psycopg
import pytest

from catalog.ingestion.registry import api_names, provider_class
from catalog.loading.load import Load
from catalog.loading.report import LoadKey
from catalog.scaffold.rows import expected_file, pull_recording
from catalog.tests.conftest import database


@pytest.fixture(scope="module")
def stored(server):
    """A connection to a catalog that all providers share."""
    with database(server, "migrated") as address, psycopg.connect(address) as connection:
        yield connection


@pytest.mark.database
@pytest.mark.parametrize("name", api_names())
def test_a_recording_is_inserted_and_unchanged_when_it_is_loaded_again(name, stored, tmp_path):
    manifest, parts = pull_recording(name, tmp_path)
    expected = Counter(
        orjson.loads(line)["media_type"] for line in expected_file(name).read_bytes().splitlines()
    )
    for media_type, catalog_name in provider_class(name).catalog_names.items():
        files, rows = parts.tsv_files(media_type, manifest), expected[media_type]
        first, again = (
            Load(stored, media_type, catalog_name, files, manifest, LoadKey(name, run, 0)).run()
            for run in ("first", "again")
        )
        assert (first.inserted, again.inserted, again.updated, again.unchanged) == (rows, 0, 0, rows)
