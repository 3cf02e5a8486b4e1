"""Tables that the planner takes for empty: they were analyzed before their first rows were committed."""

import psycopg
import pytest

from catalog.database.estimates import correct_estimate
from catalog.database.selections import Selection
from catalog.database.statements import parse_condition
from catalog.tests.loading.loader import image

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
ROWS = 3000
INSERT = """
    insert into image (created_on, updated_on, removed_from_source, provider, foreign_identifier, url,
                       license, meta_data)
    select now(), now(), false, 'stocksnap', 'old' || n, 'https://example.org/old/' || n, 'cc0',
           jsonb_build_object('text', repeat(md5(n::text), 20))
      from generate_series(1, %s) n
"""


def estimate(connection, table="image"):
    query = "select reltuples from pg_class where oid = to_regclass(%s)"
    return connection.execute(query, [table]).fetchone()[0]


@pytest.fixture
def seems_empty(catalog, dsn):
    """A table whose rows were committed after it was analyzed."""
    catalog.execute("alter table image set (autovacuum_enabled = off)")
    with psycopg.connect(dsn) as other:
        other.execute(INSERT, [ROWS])
        catalog.execute("analyze image")
    assert estimate(catalog) == 0
    return catalog


def test_it_is_analyzed(seems_empty):
    assert correct_estimate(seems_empty, "image")
    assert estimate(seems_empty) == pytest.approx(ROWS, rel=0.1)
    assert not correct_estimate(seems_empty, "image")


@pytest.mark.parametrize(("rows", "analyzed"), [(0, True), (20, True), (ROWS, True), (ROWS, False)])
def test_other_tables_are_left_alone(catalog, rows, analyzed):
    """Also a table that was never analyzed, whose rows the planner estimates by its size."""
    catalog.execute("alter table image set (autovacuum_enabled = off)")
    catalog.execute(INSERT, [rows])
    if analyzed:
        catalog.execute("analyze image")
    before = estimate(catalog)
    assert not correct_estimate(catalog, "image")
    assert estimate(catalog) == before


def test_a_load_corrects_it_first(seems_empty, load):
    load([image(1)])
    assert estimate(seems_empty) >= ROWS / 2


def test_a_selection_corrects_it_first(seems_empty):
    condition = parse_condition("image", "WHERE provider = 'stocksnap'")
    found = Selection(seems_empty, "query", "run", "image", "", condition).select()
    assert found.total == ROWS
    assert estimate(seems_empty) == pytest.approx(ROWS, rel=0.1)


def test_a_load_corrects_that_of_the_deleted_records_too(catalog, dsn, load):
    """A load looks up each record among the deleted ones."""
    catalog.execute("alter table deleted_image set (autovacuum_enabled = off)")
    catalog.execute(INSERT, [ROWS])
    with psycopg.connect(dsn) as other:
        other.execute("insert into deleted_image select image.*, now(), 'takedown' from image")
        catalog.execute("analyze deleted_image")
    assert estimate(catalog, "deleted_image") == 0
    load([image(1)])
    assert estimate(catalog, "deleted_image") == pytest.approx(ROWS, rel=0.1)
