"""Helpers of the adoption tests: old databases with rows, and comparisons of before and after."""

from collections import Counter
from contextlib import contextmanager

import psycopg
import pytest

from catalog.tests.conftest import database_of_its_own
from catalog.tests.database.generations import GENERATIONS, clutter, fill, make

ROWS = 1200  # of images; half as many audio files
OLDEST = GENERATIONS[0]


@pytest.fixture
def old(server):
    """Return a function that creates a database of a generation, with rows, and returns its DSN."""

    def made(generation, rows=ROWS, cluttered=True):
        dsn = database_of_its_own(server, "template0")
        with psycopg.connect(dsn, autocommit=True) as connection:
            make(connection, generation)
            fill(connection, "image", rows)
            fill(connection, "audio", max(1, rows // 2))
            if cluttered:
                clutter(connection)
        return dsn

    return made


@contextmanager
def connected(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


TABLES = (
    "image",
    "audio",
    "deleted_image",
    "deleted_audio",
    "image_popularity_metrics",
    "audio_popularity_metrics",
    "old_image",
)


def columns_of(connection, table):
    return [
        name
        for (name,) in connection.execute(
            "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 "
            "and not attisdropped order by 1",
            [table],
        )
    ]


def contents(connection, columns=None):
    """Return the columns of each table, and a digest of each row over these columns."""
    columns = columns or {
        t: [c for c in columns_of(connection, t) if c != "audio_set_foreign_identifier"] for t in TABLES
    }
    return columns, {
        table: sorted(
            digest
            for (digest,) in connection.execute(f"select md5(row({', '.join(names)})::text) from {table}")
        )
        for table, names in columns.items()
        if names
    }


def lost(before, after):
    """Return per table the rows that are missing, and those that are new; new metrics are allowed."""
    return {
        table: (Counter(rows) - Counter(after[table]), Counter(after[table]) - Counter(rows))
        for table, rows in before.items()
        if Counter(rows) - Counter(after[table]) or (after[table] != rows and "metrics" not in table)
    }


def files(connection):
    """Return where media tables and indexes are stored; another number means that they were rewritten."""
    return dict(
        connection.execute("""
            select c.relname, c.relfilenode from pg_class c
              left join pg_index x on x.indexrelid = c.oid
             where c.relname in ('image', 'audio') or x.indrelid in ('image'::regclass, 'audio'::regclass)
             union all
            select 'toast of ' || c.relname, t.relfilenode
              from pg_class c join pg_class t on t.oid = c.reltoastrelid
             where c.relname in ('image', 'audio')
        """).fetchall()
    )


def shape(connection):
    """Describe all parts of a schema in words, rows of the metrics included."""
    queries = {
        "column": "select c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)"
        " || case when a.attnotnull then ' not null' else '' end"
        " || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')"
        " from pg_attribute a join pg_class c on c.oid = a.attrelid "
        "left join pg_attrdef d on (d.adrelid, d.adnum) = (c.oid, a.attnum)"
        " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v') and a.attnum > 0 "
        "and not a.attisdropped",
        "relation": "select relname, relkind::text from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'S')",
        "view": "select viewname, definition from pg_views where schemaname = 'public'",
        "index": "select indexname, indexdef from pg_indexes where schemaname = 'public'",
        "constraint": "select conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) "
        "from pg_constraint"
        " where connamespace = 'public'::regnamespace and contype <> 'n'",
        "function": "select proname || '(' || pg_get_function_arguments(oid) || ')', pg_get_functiondef(oid) "
        "from pg_proc"
        " where pronamespace = 'public'::regnamespace and prokind = 'f'",
        "metric": "select 'image ' || provider, metric || percentile from image_popularity_metrics union all"
        " select 'audio ' || provider, metric || percentile from audio_popularity_metrics",
    }
    return {
        f"{kind} {name}": text for kind, query in queries.items() for name, text in connection.execute(query)
    }


def shape_of_theirs(connection):
    return connection.execute(
        "select relname, relkind, relfilenode, relnatts from pg_class "
        "where relnamespace = 'public'::regnamespace order by oid"
    ).fetchall()


def duplicate(connection):
    """Drop the unique indexes, then add two rows with an existing URL and two with an existing record."""
    for index in ("image_url_key", "image_provider_fid_idx"):
        connection.execute(f"drop index if exists {index}")
    connection.execute("""
        create temp table twice as
        select * from image where provider = 'flickr' and foreign_identifier is not null
          and isfinite(updated_on) order by url limit 2;
        update twice set identifier = gen_random_uuid(), updated_on = updated_on - interval '1 day';
        insert into image select * from twice;                        -- the same record, and the same URL
        update twice set identifier = gen_random_uuid(), url = url || '#other',
          updated_on = updated_on - interval '1 day';
        insert into image select * from twice;                        -- the same record
        update twice set identifier = gen_random_uuid(), foreign_identifier = foreign_identifier || ' other',
                         url = replace(url, '#other', '');
        insert into image select * from twice;                        -- another record with the same URL
        drop table twice
    """)
