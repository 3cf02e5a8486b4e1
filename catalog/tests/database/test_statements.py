"""What a batched update may say, and what it may not."""

import pytest

from catalog.database.statements import parse_condition, parse_update, verify
from catalog.ingestion.errors import Refused

REFUSED = [
    ("SET title = 'x'; DROP TABLE image", "WHERE true", "2 statements|syntax error"),
    ("SET title = 'x'", "WHERE true; DELETE FROM image", "2 statements"),
    ("SET title = 'x' --", "WHERE true", "no WHERE"),
    ("SET title = 'x' /*", "WHERE true", "unterminated|syntax"),
    ("SET title = 'x' WHERE 1 = 1 --", "WHERE false", None),  # harmless, see below
    ("SET title = 'x'", "WHERE true RETURNING *", "RETURNING is not allowed"),
    ("SET title = a.title FROM audio a", "WHERE true", "FROM is not allowed"),
    ("SET identifier = null", "WHERE true", "identifier cannot be set"),
    ("SET title = 'x', provider = 'y'", "WHERE true", "provider cannot be set"),
    ("SET foreign_identifier = '1'", "WHERE true", "foreign_identifier cannot be set"),
    (
        "SET title = (WITH d AS (DELETE FROM image RETURNING 1) SELECT 'x')",
        "WHERE true",
        "not allowed: DELETE",
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
    ("SET title = (SELECT title FROM image LIMIT 1 FOR UPDATE)", "WHERE true", "FOR UPDATE or FOR SHARE"),
    ("SET title = $1", "WHERE true", "a parameter such as"),
    ("SET title = DEFAULT", "WHERE true", "not allowed: DEFAULT"),
    ("SET tags[1] = 'x'", "WHERE true", "set whole columns"),
    ("SET title = 'x'", "WHERE CURRENT OF cursor", "CURRENT OF is not allowed"),
    ("SET title = 'image'::regclass::text", "WHERE true", "a cast to regclass"),
    ("title = 'x'", "WHERE true", "update_query: it must begin with SET"),
    ("SET title = 'x'", "title = 'x'", "select_query: it must begin with WHERE"),
    ("SET title = 'x'", "", "select_query: it must begin with WHERE"),
    ("SET title =", "WHERE true", "syntax error"),
    ("", "WHERE true", "update_query: it must begin with SET"),
]


@pytest.mark.parametrize(("update", "select", "reason"), [r for r in REFUSED if r[2]])
def test_what_is_no_single_update_of_the_table(update, select, reason):
    with pytest.raises(Refused, match=reason):
        parse_update("image", update, select)


@pytest.mark.parametrize(
    ("update", "select", "reason"),
    [
        ("SET title = pg_read_file('/etc/passwd')", "WHERE true", "pg_read_file is volatile"),
        ("SET title = pg_sleep(1)::text", "WHERE true", "pg_sleep is volatile"),
        (
            "SET title = query_to_xml('select 1', true, true, '')::text",
            "WHERE true",
            "query_to_xml is volatile",
        ),
        ("SET title = set_config('a', 'b', false)", "WHERE true", "set_config is volatile"),
        ("SET title = random()::text", "WHERE true", "random is volatile"),
        ("SET title = 'x'", "WHERE pg_terminate_backend(1)", "pg_terminate_backend is volatile"),
        ("SET title = nothing_like_it(title)", "WHERE true", "there is no function nothing_like_it"),
        ("SET title = other.f(title)", "WHERE true", "other.f is of another schema"),
        ("SET title = (SELECT passwd FROM pg_shadow LIMIT 1)", "WHERE true", "pg_shadow cannot be read"),
        (
            "SET title = (SELECT rolname FROM pg_catalog.pg_roles LIMIT 1)",
            "WHERE true",
            "pg_catalog.pg_roles cannot be read",
        ),
        ("SET nothing = 'x'", "WHERE true", 'column "nothing" of relation "image" does not exist'),
        ("SET width = 'wide'", "WHERE true", "invalid input syntax for type integer"),
        ("SET title = 'x'", "WHERE width", "must be type boolean"),
    ],
)
def test_what_the_server_refuses(catalog, update, select, reason):
    with pytest.raises(Refused, match=reason):
        verify(catalog, parse_update("image", update, select).text)


@pytest.mark.parametrize(
    ("update", "select"),
    [
        ("SET updated_on = NOW(), standardized_popularity = standardized_image_popularity(image.provider, image.meta_data)",
         "WHERE provider = 'flickr' AND updated_on < '2024-02-10 10:00:00'"),
        ("SET thumbnail = NULL", "WHERE provider = 'flickr' AND thumbnail IS NOT NULL"),
        ("SET title = '100 % -- {sure}; /* really */'", "WHERE title LIKE '%''%' OR meta_data ->> 'a' = '{}'"),
        ("SET (title, creator) = (SELECT a.title, a.creator FROM audio a WHERE a.url = image.url)", "WHERE true"),
        ("SET tags = (WITH t AS (SELECT x FROM jsonb_array_elements(tags) x) SELECT jsonb_agg(x) FROM t)", "WHERE tags IS NOT NULL"),
        ("SET meta_data = jsonb_set(meta_data, '{a}', '\"b\"')", "WHERE exists (SELECT FROM deleted_image d WHERE d.url = image.url)"),
    ],
)  # fmt: skip
def test_what_is_allowed_keeps_its_meaning(catalog, update, select):
    found = parse_update("image", update, select)
    verify(catalog, found.text)
    again = parse_update("image", f"SET {found.assignments}", f"WHERE {found.condition}")
    assert again == found


def test_text_outside_the_tree_does_not_reach_the_server():
    """A comment may hide the second WHERE: what counts is the tree, and it is shown before anything is done."""
    found = parse_update("image", "SET title = 'x' WHERE 1 = 1 --", "WHERE false")
    assert found.text == "UPDATE image SET title = 'x' WHERE 1 = 1"


def test_other_tables():
    with pytest.raises(Refused, match="table_name: 'api_image' is no media table; there are audio, image"):
        parse_update("api_image", "SET title = 'x'", "WHERE true")


@pytest.mark.parametrize(
    "select",
    ["WHERE true; DROP TABLE image", "WHERE true RETURNING *", "true", "WHERE", "USING audio WHERE true"],
)
def test_conditions_that_are_none(select):
    with pytest.raises(Refused):
        parse_condition("image", select)


def test_a_condition():
    assert (
        parse_condition("audio", "WHERE provider='x'  and title is null")
        == "provider = 'x' AND title IS NULL"
    )
