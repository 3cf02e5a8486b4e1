"""What `SET …` and `WHERE …` of an operator may contain; errors name the field."""

import pytest

from catalog.core.errors import Refused
from catalog.database import allowlist
from catalog.database.guard import BUILT_IN
from catalog.database.license_urls import Group
from catalog.database.statements import parse_condition, parse_update, verify, verify_condition
from catalog.tests.database.legitimate import CONDITIONS, CONDITIONS_OF_AUDIO, EXPRESSIONS

REFUSED = [
    ("SET title = 'x'; DROP TABLE image", "WHERE true", "update_query: 2 statements"),
    ("SET title = 'x'", "WHERE true; DELETE FROM image", "select_query: 2 statements"),
    ("SET title = 'x' --", "WHERE true", "update_query: it ends with a comment"),
    ("SET title = 'x' -- \n", "WHERE true", "update_query: it ends with a comment"),
    ("SET title = 'x' /* all */", "WHERE true", "update_query: it ends with a comment"),
    ("SET title = 'x' /*", "WHERE true", "update_query: unterminated"),
    ("SET title = 'x';", "WHERE true", "update_query: it ends with a comment or a semicolon"),
    ("SET title = 'x' WHERE 1 = 1 --", "WHERE false", "update_query: it ends with a comment"),
    ("SET title = 'x' WHERE true; --", "WHERE false", "update_query: it ends with a comment"),
    ("SET title = 'x' WHERE true", "WHERE false", "update_query: only SET .* WHERE belongs in select_query"),
    ("SET title = 'x' WHERE true AND", "WHERE false", "update_query: syntax error"),
    ("SET title = '", "WHERE title = '", "update_query: unterminated quoted string"),
    ("SET title = $a$", "WHERE title = $a$", "update_query: unterminated dollar-quoted string"),
    ('SET title = "', 'WHERE title = "', "update_query: unterminated quoted identifier"),
    ("SET title = (SELECT 'x'", "WHERE true)", "update_query: syntax error"),
    ("SET title = 'x' RETURNING *", "WHERE true", "update_query: RETURNING is not allowed"),
    ("SET title = 'x'", "WHERE true RETURNING *", "select_query: RETURNING is not allowed"),
    ("SET title = a.title FROM audio a", "WHERE true", "update_query: FROM is not allowed"),
    ("SET title = 'x'", "WHERE true OR", "select_query: syntax error"),
    ("SET title = 'x'", "WHERE true -- all of them", "select_query: it ends with a comment"),
    ("SET title = 'x'", "WHERE true ORDER BY 1", "select_query: syntax error"),
    ("SET title = 'x'", "WHERE true LIMIT 1", "select_query: syntax error"),
    ("SET title = 'x'", "WHERE true UNION SELECT 1", "select_query: syntax error"),
    ("SET title = 'x\0'", "WHERE true", "update_query: it holds a character"),
    ("SET title = 'x\ud800'", "WHERE true", "update_query: it holds a character"),
    ("SET title = 'x'", "WHERE title = '\0' OR true", "select_query: it holds a character"),
    (
        "SET title = 'x'",
        "WHERE " + "NOT " * 3000 + "true",
        "select_query: it (is nested too deeply|cannot be rewritten)",
    ),
    (
        "SET title = (SELECT string_agg(title, '' ORDER BY title USING OPERATOR(pg_catalog.<)) FROM audio)",
        "WHERE true",
        "update_query: it cannot be rewritten",
    ),
    ("SET identifier = null", "WHERE true", "update_query: identifier cannot be set"),
    ("SET title = 'x', provider = 'y'", "WHERE true", "update_query: provider cannot be set"),
    ("SET foreign_identifier = '1'", "WHERE true", "update_query: foreign_identifier cannot be set"),
    ("SET (title, provider) = ('a', 'b')", "WHERE true", "update_query: provider cannot be set"),
    (
        "SET title = (WITH d AS (DELETE FROM image RETURNING 1) SELECT 'x')",
        "WHERE true",
        "update_query: not allowed: DELETE",
    ),
    (
        "SET title = (WITH d AS (INSERT INTO image DEFAULT VALUES RETURNING 1) SELECT 'x')",
        "WHERE true",
        "not allowed: INSERT",
    ),
    (
        "SET title = (WITH d AS (UPDATE image SET title = 'y' RETURNING 1) SELECT 'x')",
        "WHERE true",
        "another UPDATE",
    ),
    (
        "SET title = 'x'",
        "WHERE exists (WITH d AS (DELETE FROM audio RETURNING 1) SELECT FROM d)",
        "select_query: not allowed: DELETE",
    ),
    (
        "SET title = 'x'",
        "WHERE exists (WITH d AS (MERGE INTO audio USING image i ON false WHEN MATCHED THEN DELETE) SELECT)",
        "MERGE",
    ),
    ("SET title = (SELECT title FROM audio LIMIT 1 FOR UPDATE)", "WHERE true", "FOR UPDATE or FOR SHARE"),
    ("SET title = $1", "WHERE true", "a parameter such as"),
    ("SET title = DEFAULT", "WHERE true", "not allowed: DEFAULT"),
    ("SET tags[1] = 'x'", "WHERE true", "set whole columns"),
    ("SET title = 'x'", "WHERE CURRENT OF cursor", "CURRENT OF"),
    ("SET title = 'image'::regclass::text", "WHERE true", "a cast to regclass"),
    ("SET title = CAST('lower' AS pg_catalog.regproc)::text", "WHERE true", "a cast to regproc"),
    ("SET title = (SELECT title FROM audio TABLESAMPLE system (1) LIMIT 1)", "WHERE true", "TABLESAMPLE"),
    ("title = 'x'", "WHERE true", "update_query: it must begin with SET"),
    ("SET title = 'x'", "title = 'x'", "select_query: it must begin with WHERE"),
    ("SET title = 'x'", "", "select_query: it must begin with WHERE"),
    ("SET title = 'x'", "WHERE ", "select_query: syntax error"),
    ("SET title =", "WHERE true", "update_query: syntax error"),
    ("", "WHERE true", "update_query: it must begin with SET"),
]


@pytest.mark.parametrize(("update", "select", "reason"), REFUSED)
def test_only_a_single_update_of_the_table_is_accepted(update, select, reason):
    with pytest.raises(Refused, match=reason):
        parse_update("image", update, select)


def test_each_field_is_read_alone():
    """Comments and string literals of one field do not extend into the other."""
    found = parse_update("image", "SET title = 'x', /* a */ creator = '-- b'", "WHERE /* c */ title = '/*'")
    assert found.text == "UPDATE image SET title = 'x', creator = '-- b' WHERE title = '/*'"


def test_other_tables():
    with pytest.raises(Refused, match="table_name: 'api_image' is not a media table; use audio or image"):
        parse_update("api_image", "SET title = 'x'", "WHERE true")


@pytest.mark.parametrize(
    "select",
    [
        "WHERE true; DROP TABLE image",
        "WHERE true RETURNING *",
        "true",
        "WHERE",
        "USING audio WHERE true",
        "WHERE true --",
    ],
)
def test_invalid_conditions_are_refused(select):
    with pytest.raises(Refused, match="select_query"):
        parse_condition("image", select)


def test_a_condition():
    assert (
        parse_condition("audio", "WHERE provider='x'  and title is null")
        == "provider = 'x' AND title IS NULL"
    )


# What is there beside the catalog: made by somebody else, or for something else.
SURROUNDINGS = """
    create schema other;
    create table other.secrets (passwd text);
    insert into other.secrets values ('hidden');
    create view public.harmless_view as select passwd as title from other.secrets;
    create view public.deeper_view as select title from public.harmless_view;
    create view public.calling_view as select current_setting('data_directory', true) as title;
    create materialized view public.kept_view as select passwd as title from other.secrets;
    create table public.parent (title text);
    create table other.child () inherits (public.parent);
    create function public.lower(varchar) returns text language sql stable
      as 'select passwd from other.secrets';
    create function public.upper(a text, b text default 'x') returns text language sql stable
      as 'select passwd from other.secrets';
    create function public.metric_value(text) returns double precision language sql stable as 'select 1.0';
    create function other.f(text) returns text language sql immutable as 'select $1';
    create function public.plus(text, text) returns text language sql stable
      as 'select passwd from other.secrets';
    create operator public.+ (function = public.plus, leftarg = text, rightarg = text);
    create type public.wrapped as (passwd text);
    create function public.wrap(text) returns public.wrapped language sql stable
      as 'select row(passwd)::public.wrapped from other.secrets';
    create cast (text as public.wrapped) with function public.wrap(text);
    create domain public.checked as text check (public.plus(value, value) <> 'x');
    create type public.colour as enum ('red');
    create sequence public.numbers;
    create aggregate public.gathered(text) (sfunc = plus, stype = text, initcond = '');
"""

ATTEMPTS = [  # expressions of type text; what is refused, and why
    ("(SELECT passwd FROM pg_shadow LIMIT 1)", "pg_shadow cannot be read"),
    ("(SELECT rolname::text FROM pg_catalog.pg_roles LIMIT 1)", "pg_catalog.pg_roles cannot be read"),
    (
        "(WITH pg_authid AS (SELECT 1) SELECT rolpassword FROM pg_catalog.pg_authid LIMIT 1)",
        "pg_authid cannot be read",
    ),
    (
        "(WITH pg_shadow AS (SELECT passwd FROM pg_shadow) SELECT passwd FROM pg_shadow LIMIT 1)",
        "pg_shadow cannot be read",
    ),
    (
        "(WITH x AS (SELECT passwd FROM pg_shadow), pg_shadow AS (SELECT 1) SELECT passwd FROM x LIMIT 1)",
        "pg_shadow cannot be read",
    ),
    (
        "(SELECT (WITH pg_user AS (SELECT 1) SELECT '1') || usename::text FROM pg_user LIMIT 1)",
        "pg_user cannot be read",
    ),
    (
        "(SELECT table_name::text FROM information_schema.tables LIMIT 1)",
        "information_schema.tables cannot be read",
    ),
    ("(SELECT query FROM pg_stat_activity LIMIT 1)", "pg_stat_activity cannot be read"),
    ("(SELECT setting FROM pg_settings LIMIT 1)", "pg_settings cannot be read"),
    ("(SELECT passwd FROM other.secrets)", "other.secrets cannot be read"),
    ("(SELECT s::text FROM other.secrets s)", "other.secrets cannot be read"),
    ("(TABLE other.secrets)", "other.secrets cannot be read"),
    ("(SELECT passwd FROM ONLY other.secrets)", "other.secrets cannot be read"),
    ("(SELECT a.title FROM audio a NATURAL JOIN other.secrets LIMIT 1)", "other.secrets cannot be read"),
    (
        "(SELECT 'x' WHERE exists (SELECT FROM other.secrets WHERE passwd LIKE 'h%'))",
        "other.secrets cannot be read",
    ),
    ("(SELECT title FROM harmless_view)", "the view harmless_view cannot be read: other.secrets"),
    (
        "(SELECT title FROM deeper_view)",
        "the view deeper_view cannot be read: the view harmless_view cannot be read",
    ),
    ("(SELECT title FROM calling_view)", "the view calling_view cannot be read: function current_setting"),
    ("(SELECT title FROM kept_view)", "the view kept_view cannot be read: other.secrets"),
    ("(SELECT title FROM parent)", "public.parent cannot be read"),
    ("(SELECT last_value::text FROM numbers)", "public.numbers cannot be read"),
    ("pg_read_file('/etc/passwd')", "pg_read_file is volatile"),
    ("pg_read_binary_file('/etc/passwd')::text", "pg_read_binary_file is volatile"),
    ("(SELECT pg_ls_dir('/') LIMIT 1)", "pg_ls_dir is volatile"),
    ("pg_sleep(1)::text", "pg_sleep is volatile"),
    ("query_to_xml('select 1', true, true, '')::text", "query_to_xml is volatile|XML|type xml"),
    ("table_to_xml('other.secrets', true, false, '')::text", "table_to_xml is not on the list"),
    ("schema_to_xml('other', true, false, '')::text", "schema_to_xml is not on the list"),
    ("database_to_xml(true, false, '')::text", "database_to_xml is not on the list"),
    ("cursor_to_xml('c', 1, true, false, '')::text", "cursor_to_xml is volatile"),
    ("set_config('a.b', 'b', false)", "set_config is volatile"),
    ("current_setting('data_directory')", "current_setting is not on the list"),
    ("random()::text", "random is volatile"),
    ("gen_random_uuid()::text", "gen_random_uuid is volatile"),
    ("time_ordered_uuid()::text", "time_ordered_uuid is volatile"),
    ("clock_timestamp()::text", "clock_timestamp is volatile"),
    ("nextval('numbers')::text", "nextval is volatile"),
    ("currval('numbers')::text", "currval is volatile"),
    ("lo_get(1)::text", "lo_get is volatile"),
    ("lo_import('/etc/passwd')::text", "lo_import is volatile"),
    ("pg_terminate_backend(1)::text", "pg_terminate_backend is volatile"),
    ("pg_notify('a', 'b')::text", "pg_notify is volatile"),
    ("pg_advisory_lock(1)::text", "pg_advisory_lock is volatile"),
    ("txid_current()::text", "txid_current is not on the list"),
    ("has_table_privilege('other.secrets', 'select')::text", "has_table_privilege is not on the list"),
    ("has_schema_privilege('other', 'usage')::text", "has_schema_privilege is not on the list"),
    ("pg_get_viewdef('harmless_view')", "pg_get_viewdef is not on the list"),
    ("pg_get_functiondef('other.f'::regproc)", "a cast to regproc"),
    ("obj_description(1)", "obj_description is not on the list"),
    ("pg_relation_size('other.secrets')::text", "pg_relation_size is volatile"),
    ("to_regclass('other.secrets')::text", "to_regclass is not on the list|type regclass"),
    ("format('%s', to_regrole('postgres'))", "to_regrole is not on the list"),
    ("version()", "version is not on the list"),
    ("inet_server_addr()::text", "inet_server_addr is not on the list"),
    ("current_user::text", "CURRENT_USER"),
    ("session_user::text", "CURRENT_USER"),
    ("current_catalog::text", "CURRENT_USER"),
    ("current_schema::text", "CURRENT_USER"),
    ("current_schemas(true)::text", "current_schemas is not on the list"),
    ("ts_rewrite('a'::tsquery, 'select passwd, passwd from other.secrets')::text", "ts_rewrite is volatile"),
    ("(SELECT word FROM ts_stat('select passwd from other.secrets') LIMIT 1)", "ts_stat is volatile"),
    ("xmlparse(content '<a/>')::text", "type xml|XML"),
    ("(SELECT x FROM xmltable('/a' PASSING '<a/>' COLUMNS x text))", "XML"),
    ("pg_typeof(title)::text", "pg_typeof is not on the list"),
    ("lower(provider)", r"public.lower\(character varying\) is not one of the catalog's functions"),
    ("public.lower(provider)", r"public.lower\(character varying\) is not one of the catalog's functions"),
    ("upper(title, 'a')", r"public.upper\(text, text\) is not one of the catalog's functions"),
    ("metric_value(title)::text", r"public.metric_value\(text\) is not one of the catalog's functions"),
    ("other.f(title)", r"other.f\(text\) is not one of the catalog's functions"),
    ("title OPERATOR(public.+) title", r"operator \+ is not a built-in operator"),
    ("(title + title)", r"operator \+ is not a built-in operator"),
    ("(title::wrapped).passwd", "type wrapped is not allowed|wrap"),
    ("(wrap(title)).passwd", r"public.wrap\(text\) is not one of the catalog's functions"),
    ("title::checked", "a domain is not allowed"),
    ("'red'::colour::text", "type colour is not allowed"),
    ("(SELECT gathered(title) FROM audio)", r"public.gathered\(text\) is not one of the catalog's functions"),
    ("nothing_like_it(title)", r"function nothing_like_it\(text\) does not exist"),
    ("nowhere.f(title)", 'schema "nowhere" does not exist'),
    ("dblink('dbname=postgres', 'select 1')", r"function dblink\(unknown, unknown\) does not exist"),
    ("old::text", "type|column|OLD|old"),
    ("new.title", "column|type|new"),
]


@pytest.fixture(scope="module")
def surrounded(server):
    """A catalog database that also contains foreign objects."""
    import psycopg

    from catalog.tests.conftest import database_of_its_own

    with psycopg.connect(database_of_its_own(server, "migrated"), autocommit=True) as connection:
        connection.execute(SURROUNDINGS)
        yield connection


@pytest.mark.parametrize(("text", "reason"), ATTEMPTS)
@pytest.mark.parametrize("field", ["update_query", "select_query"])
def test_foreign_objects_are_refused(surrounded, field, text, reason):
    change, condition = (text, "true") if field == "update_query" else ("NULL", f"title = {text}")
    with pytest.raises(Refused, match=rf"^{field}: .*({reason})"):
        verify(surrounded, parse_update("image", f"SET title = {change}", f"WHERE {condition}"))


@pytest.mark.parametrize(
    ("update", "select", "reason"),
    [
        (
            "SET nothing = 'x'",
            "WHERE true",
            'update_query: .*column "nothing" of relation "image" does not exist',
        ),
        ("SET width = 'wide'", "WHERE true", "update_query: .*invalid input syntax for type integer"),
        ("SET title = 'x'", "WHERE width", "select_query: .*must be type boolean"),
        ("SET title = 'x'", "WHERE nothing = 1", 'select_query: .*column "nothing" does not exist'),
        ("SET title = row_id::text", "WHERE true", 'update_query: .*column "row_id" does not exist'),
        (
            "SET tags = (SELECT 1)",
            "WHERE true",
            "update_query: .*is of type jsonb but expression is of type integer",
        ),
    ],
)
def test_type_errors_name_their_field(catalog, update, select, reason):
    with pytest.raises(Refused, match=f"^{reason}"):
        verify(catalog, parse_update("image", update, select))


def test_nothing_is_executed_or_left_behind(surrounded):
    """The check only makes the server resolve names."""
    before = surrounded.execute("select count(*) from pg_class").fetchone()
    for text in ("nextval('numbers')::text", "lower(title)"):
        try:
            verify(surrounded, parse_update("image", f"SET title = {text}", "WHERE true"))
        except Refused:
            assert "nextval" in text
    assert surrounded.execute("select count(*) from pg_class").fetchone() == before
    assert surrounded.execute("select is_called from numbers").fetchone() == (False,)


@pytest.mark.parametrize("expression", [f"{column} = {text}" for column, text in EXPRESSIONS])
def test_a_legitimate_assignment(catalog, expression):
    legitimate(catalog, "image", f"SET updated_on = now(), {expression}", "WHERE provider = 'flickr'")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_legitimate_condition(catalog, condition):
    legitimate(catalog, "image", "SET title = NULL", f"WHERE {condition}")


@pytest.mark.parametrize("condition", CONDITIONS_OF_AUDIO)
def test_a_legitimate_condition_of_audio(catalog, condition):
    legitimate(catalog, "audio", "SET title = NULL", f"WHERE {condition}")


def legitimate(connection, table, update, select):
    """Check that a statement is accepted, means the same when it is rewritten, and runs on the server."""
    found = parse_update(table, update, select)
    verify(connection, found)
    again = parse_update(table, f"SET {found.assignments}", f"WHERE {found.condition}")
    assert again == found
    connection.execute(f"{found.text}")


def test_there_are_enough_legitimate_statements():
    assert len(EXPRESSIONS) + len(CONDITIONS) + len(CONDITIONS_OF_AUDIO) >= 150
    assert len(ATTEMPTS) >= 40


def test_the_catalogs_own_statements_pass(catalog):
    """Statements that DAGs build, for licenses and thumbnails, are accepted."""
    verify(catalog, Group("by", "4.0", 1).update())
    verify(catalog, Group("cc0", "1.0", 1).update())
    verify(
        catalog,
        parse_update(
            "image",
            "SET updated_on = now(), thumbnail = NULL",
            "WHERE provider = 'flickr' AND thumbnail IS NOT NULL",
        ),
    )


def test_a_condition_on_deleted_media(catalog):
    verify_condition(
        catalog,
        "image",
        parse_condition("image", "WHERE deleted_reason = 'x' AND image.deleted_on < now()"),
        of="deleted_image",
    )
    with pytest.raises(Refused, match='column "deleted_on" does not exist'):
        verify_condition(catalog, "image", parse_condition("image", "WHERE deleted_on < now()"))


def test_every_function_of_the_catalog_is_on_the_list(catalog):
    """A function that a migration adds is listed with what it reads, or is volatile."""
    found = catalog.execute("""
        select p.proname || '(' || oidvectortypes(p.proargtypes) || ')' from pg_proc p
         where pronamespace = 'public'::regnamespace and provolatile <> 'v' and prokind = 'f'
           and prorettype <> 'trigger'::regtype
           and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid
             and deptype = 'e')
    """).fetchall()
    assert {signature for (signature,) in found} == set(allowlist.OWN_FUNCTIONS)


def test_listed_functions_only_compute(catalog):
    """None is volatile, and none takes an object id or executes text."""
    rows = catalog.execute(
        """
        select proname, bool_or(provolatile = 'v'), array_agg(distinct t.typname)
               filter (where t.typname ~ '^(reg|oid|cstring|internal|ref)' and t.typname <> 'regconfig')
          from pg_proc p left join unnest(proargtypes) a(type) on true left join pg_type t on t.oid = a.type
         where pronamespace = 'pg_catalog'::regnamespace and proname = any(%s) and p.oid < %s group by 1
        """,
        [list(allowlist.FUNCTIONS), BUILT_IN],
    ).fetchall()
    assert {
        name for name, *_ in rows
    } == allowlist.FUNCTIONS  # on the server of the tests, the newest that is supported
    assert [name for name, volatile, _ in rows if volatile] == []
    assert {name: odd for name, _, odd in rows if odd} == {"max": ["oid"], "min": ["oid"]}
