"""The schema that the migrations create."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import RFC_4122, uuid4

import psycopg
import pytest
from alembic import command
from psycopg import sql

from catalog.core.columns import COLUMNS, INTEGERS, JSON_COLUMNS, WIDTHS
from catalog.core.errors import Fatal
from catalog.dags.common import connections as settings
from catalog.database import schema
from catalog.database.revision import require
from catalog.ingestion.cleaning import MINIMUM
from catalog.tests.conftest import database_of_its_own

pytestmark = pytest.mark.database


def test_upgrade_and_status(server):
    dsn = server.dsn("empty")
    assert schema.status(dsn).current is None
    assert schema.status(dsn).pending
    after = schema.upgrade(dsn)
    assert (after.current, after.pending) == (after.head, ())
    again = schema.upgrade(dsn)
    assert (again.current, again.before, again.applied) == (after.head, after.head, ())


@pytest.mark.parametrize(
    ("encoding", "setting", "text"),
    [
        ("LATIN1", "work_mem = '8MB'", "the encoding of the database is LATIN1"),
        ("SQL_ASCII", "work_mem = '8MB'", "the encoding of the database is SQL_ASCII"),
        ("UTF8", "default_transaction_read_only = on", "the database is read-only"),
    ],
)
def test_a_database_that_cannot_hold_a_catalog_is_left_as_it_is(server, encoding, setting, text):
    name = f"unfit_{uuid4().hex[:12]}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(
            f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'"
        )
        connection.execute(f"alter database {name} set {setting}")
    with pytest.raises(Fatal, match=text):
        schema.upgrade(server.dsn(name))
    with psycopg.connect(server.dsn(name)) as connection:
        assert connection.execute("select count(*) from pg_stat_user_tables").fetchone() == (0,)


def test_columns_have_the_types_that_the_code_knows(catalog):
    rows = catalog.execute(
        "select column_name, data_type, character_maximum_length from information_schema.columns"
        " where table_name in ('image', 'audio') and column_name = any(%s)",
        [sorted({*COLUMNS["image"], *COLUMNS["audio"]})],
    ).fetchall()
    assert {name for name, kind, _ in rows if kind == "integer"} == INTEGERS == MINIMUM.keys()
    assert {name for name, kind, _ in rows if kind == "jsonb"} == JSON_COLUMNS
    assert {name: width for name, _, width in rows if width} == WIDTHS


def test_columns_and_indexes(catalog):
    def columns(table):
        query = (
            "select column_name from information_schema.columns where table_name = %s "
            "order by ordinal_position"
        )
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
        " select now(), now(), false, 'cc0', 'u' || n, 'flickr', jsonb_build_object('views', n::text) "
        "from generate_series(1, 100) n"
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
        ("+3", 3.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("\t8\n", 8.0),
        ("1e-30", 1e-30),
        ("9" * 100, 1e100),
        ("-2", None),
        ("-0", None),
        ("9" * 101, None),
        ("0." + "0" * 400 + "1", None),
        ("1e-400", None),
        ("\u0667", None),
        ("5\u00a0", None),
        ("\u30005", None),
        ("5\u2028", None),
        ("Infinity", None),
        ("0x10", None),
        ("1_000", None),
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
    """The function body for PostgreSQL 13 to 17 returns the same layout, a current UUID version 7."""
    source = (Path(schema.__file__).parent / "migrations/versions/0001_catalog.sql").read_text()
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
            "insert into ingestion_report (dag_id, run_id, provider, media_type, manifest_token, "
            "manifest_pages, complete,"
            " fetched, inserted, updated, unchanged, skipped, rejected) "
            "values ('d', 'r', 'p', 'image', 't', 1, true, 5, 1, 1, 1, 1, 0)"
        )


def report(catalog, **fields):
    """Insert a report as the first release writes it, with additional fields."""
    values = {
        "dag_id": "d",
        "run_id": "r",
        "provider": "p",
        "media_type": "image",
        "manifest_token": "t",
        "manifest_pages": 1,
        "complete": True,
        "fetched": 0,
        "inserted": 0,
        "updated": 0,
        "unchanged": 0,
        "skipped": 0,
        "rejected": 0,
        **fields,
    }
    comma = sql.SQL(", ")
    catalog.execute(
        sql.SQL("insert into ingestion_report ({}) values ({})").format(
            comma.join(map(sql.Identifier, values)), comma.join(map(sql.Placeholder, values))
        ),
        values,
    )


WINDOW = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
LOADED = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "fresh_on"),
    [
        ({"whole": True}, LOADED),
        ({"whole": True, "pull_began": WINDOW[0]}, WINDOW[0]),
        ({"whole": True, "pull_began": LOADED + timedelta(days=99)}, LOADED),  # the clock was wrong
        ({"whole": True, "pull_began": LOADED, "window_end": WINDOW[1]}, WINDOW[1]),
        ({"whole": True, "window_start": WINDOW[0], "window_end": WINDOW[1]}, WINDOW[1]),
        ({"whole": True, "accepted": True}, LOADED),
        ({"whole": True, "complete": False}, None),
        ({"whole": True, "replayed": True}, None),
        ({}, None),
    ],
)
def test_whole_pulls(catalog, fields, fresh_on):
    report(catalog, finished_on=LOADED, **fields)
    found = catalog.execute("select fresh_on, shortfalls, run_id from whole_pull").fetchall()
    assert found == ([(fresh_on, [], "r")] if fresh_on else [])


def test_the_last_whole_pulls_are_found_by_index(catalog):
    catalog.execute("""
        insert into ingestion_report (dag_id, run_id, provider, media_type, manifest_token, manifest_pages,
          complete, whole,
                                      fetched, inserted, updated, unchanged, skipped, rejected, window_end)
        select 'd', n::text, 'p' || n % 20, 'image', 't', 1, true, n % 3 > 0, 0, 0, 0, 0, 0, 0,
          now() - make_interval(days => n)
          from generate_series(1, 20000) n
    """)
    catalog.execute("analyze ingestion_report")
    plan = catalog.execute(
        "explain select * from whole_pull where provider = 'p1' and media_type = 'image' "
        "order by fresh_on desc limit 30"
    ).fetchall()
    lines = [line.strip().removeprefix("->  ") for (line,) in plan]
    # Two indexes are read side by side; nothing is sorted, and nothing left out but loads of the future.
    assert [line.split()[0] for line in lines[1:]] == [
        *("Result", "Merge", "Sort"),  # by this key the two are merged
        *("Index", "Index", "Filter:"),
        *("Index", "Index", "Filter:"),
    ]
    assert "Scan Backward using ingestion_report_fresh_idx" in lines[4]
    assert "Scan Backward using earlier_load_fresh_idx" in lines[7]
    assert all("finished_on <=" in lines[place] for place in (6, 9))


def test_what_makes_a_pull_whole_is_explained(catalog):
    comments = dict(
        catalog.execute("""
            select c.relname || coalesce('.' || a.attname, ''), d.description
              from pg_description d join pg_class c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid
              left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
        """).fetchall()
    )
    columns = ("complete", "whole", "replayed", "shortfalls", "accepted")
    wanted = {
        "pull_attempt",
        "whole_pull",
        "whole_pull.fresh_on",
        *(f"ingestion_report.{c}" for c in columns),
    }
    assert wanted <= set(comments)


def test_attempts_are_numbered(catalog):
    numbers = [catalog.execute("select nextval('pull_attempt')").fetchone()[0] for _ in range(3)]
    assert numbers == sorted(set(numbers))


def upgrade_to(dsn, revision, which="catalog"):
    """Upgrade to the revision of an earlier release."""
    config = schema._config(which)
    with schema._engine(dsn) as engine, engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def test_reports_of_an_earlier_release(server):
    """Reports from before the upgrade, and those that the earlier release writes after it."""
    dsn = database_of_its_own(server, "template0")
    upgrade_to(dsn, "0003")
    with psycopg.connect(dsn, autocommit=True) as catalog:
        report(catalog, whole=True)
        schema.upgrade(dsn)
        report(catalog, run_id="later", whole=True)
        found = catalog.execute("select run_id, shortfalls, accepted from whole_pull order by 1").fetchall()
    assert found == [("later", [], False), ("r", [], False)]


@pytest.mark.parametrize("revision", ["0001", "0004"])
def test_an_older_schema_is_refused(catalog, revision):
    catalog.execute("update catalog_version set version_num = %s", [revision])
    with pytest.raises(Fatal, match=r"catalog db upgrade"):
        require(catalog)


def test_tables_without_a_revision_are_refused(catalog):
    catalog.execute("delete from catalog_version")
    with pytest.raises(
        Fatal, match=r"the database has a table image but no revision: .*catalog db adopt --check"
    ):
        require(catalog)


def test_a_database_without_a_schema_is_refused(server):
    with (
        psycopg.connect(database_of_its_own(server, "template0"), autocommit=True) as connection,
        pytest.raises(Fatal, match=r"has no revision; this release needs \d{4}. Upgrade it with"),
    ):
        require(connection)


def test_this_schema_and_a_newer_one_are_accepted(catalog, dsn):
    require(catalog)
    head = schema.status(dsn).head
    assert catalog.execute("select version_num from catalog_version").fetchone() == (head,)
    catalog.execute("update catalog_version set version_num = '9999'")
    require(catalog)


@pytest.mark.parametrize("autocommit", [True, False])
def test_each_task_that_opens_the_catalog_database_checks_it_first(catalog, dsn, monkeypatch, autocommit):
    """It also starts outside a transaction; otherwise, its work would never be committed."""
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    with settings.catalog_connection(autocommit) as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    catalog.execute("update catalog_version set version_num = '0003'")
    with pytest.raises(Fatal, match="catalog db upgrade"), settings.catalog_connection(autocommit):
        pass
    with pytest.raises(Fatal, match="catalog db upgrade"):
        settings.connect_to_catalog(autocommit)
