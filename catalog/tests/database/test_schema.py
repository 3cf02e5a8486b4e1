"""The schema as migrations make it."""

from uuid import RFC_4122

import psycopg
import pytest

from catalog.database import schema

pytestmark = pytest.mark.database


def test_upgrade_and_status(server):
    dsn = server.dsn("empty")
    assert schema.status(dsn).current is None
    assert schema.status(dsn).pending
    after = schema.upgrade(dsn)
    assert (after.current, after.pending) == (after.head, ())
    assert schema.upgrade(dsn) == after


def test_columns_and_indexes(catalog):
    def columns(table):
        query = "select column_name from information_schema.columns where table_name = %s order by ordinal_position"
        return [r[0] for r in catalog.execute(query, [table])]

    assert len(columns("image")) == 26
    assert len(columns("audio")) == 32
    assert columns("deleted_image") == [*columns("image"), "deleted_on", "deleted_reason"]
    assert columns("deleted_audio") == [*columns("audio"), "deleted_on", "deleted_reason"]
    unique = {
        r[0] for r in catalog.execute("select indexname from pg_indexes where indexdef like 'CREATE UNIQUE%'")
    }
    for media in ("image", "audio"):
        assert {f"{media}_provider_fid_idx", f"{media}_identifier_key", f"{media}_url_key"} <= unique
        assert {f"deleted_{media}_provider_fid_idx", f"deleted_{media}_identifier_key"} <= unique


def test_popularity_functions(catalog):
    catalog.execute(
        "insert into image (created_on, updated_on, removed_from_source, license, url, provider, meta_data)"
        " select now(), now(), false, 'cc0', 'u' || n, 'flickr', jsonb_build_object('views', n::text) from generate_series(1, 100) n"
    )
    assert catalog.execute("select image_popularity_percentile('flickr', 'views', 0.85)").fetchone() == (
        85.0,
    )
    assert catalog.execute(
        "select standardized_image_popularity('flickr', '{\"views\": \"5\"}')"
    ).fetchone() == (None,)
    assert catalog.execute("select count(*) from image_popularity_constants").fetchone() == (5,)


def test_metric_values(catalog):
    for text, value in (
        ("5", 5.0),
        ("1.5e3", 1500.0),
        (" 7 ", 7.0),
        ("-2", -2.0),
        ("many", None),
        ("", None),
        ("1e999", None),
        ("NaN", None),
    ):
        assert catalog.execute(
            "select metric_value(jsonb_build_object('m', %s::text), 'm')", [text]
        ).fetchone() == (value,)


def test_time_ordered_uuids(catalog):
    made = [catalog.execute("select time_ordered_uuid()").fetchone()[0] for _ in range(50)]
    assert all(u.version == 7 for u in made)
    assert len(set(made)) == 50
    stamps = [u.int >> 80 for u in made]
    assert stamps == sorted(stamps)


def test_time_ordered_uuids_of_older_servers(catalog):
    """The body that PostgreSQL 13 to 17 get: the same layout, a version 7 of today."""
    source = (schema.Path(schema.__file__).parent / "migrations/versions/0001_catalog.sql").read_text()
    start = source.index("create function time_ordered_uuid()")
    body = source[start : source.index("$$;", start) + 3].replace("time_ordered_uuid", "older_uuid")
    catalog.execute(body)
    made, milliseconds = catalog.execute(
        "select older_uuid(), extract(epoch from clock_timestamp()) * 1000"
    ).fetchone()
    assert (made.version, made.variant) == (7, RFC_4122)
    assert abs((made.int >> 80) - milliseconds) < 2000


def test_a_report_must_add_up(catalog):
    with pytest.raises(psycopg.errors.CheckViolation):
        catalog.execute(
            "insert into ingestion_report (dag_id, run_id, provider, media_type, manifest_token, manifest_pages, complete,"
            " fetched, inserted, updated, unchanged, skipped, rejected) values ('d', 'r', 'p', 'image', 't', 1, true, 5, 1, 1, 1, 1, 0)"
        )
