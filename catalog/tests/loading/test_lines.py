"""Faults in lines of TSV parts: lines that PostgreSQL would refuse are found, and all others are accepted."""

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.core.columns import COLUMNS
from catalog.loading.lines import LineCheck


def fault(column, field):
    fields = dict.fromkeys(COLUMNS["image"], rb"\N") | {column: field}
    return LineCheck("image").fault(b"\t".join(fields.values()))


def as_field(value: str) -> bytes:
    """Return a string as a field of COPY's text format."""
    return value.replace("\\", "\\\\").encode()


@pytest.mark.parametrize(
    ("json", "problem"),
    [
        (r'{"a": "C:\\u0000x"}', None),
        (r'{"a": "\\\\u0000"}', None),
        (r'{"a": "\u0001"}', None),
        (r'{"a": "u0000"}', None),
        (r'{"a": "\u0000"}', "meta_data: NUL in JSON"),
        (r'{"a": "\\\u0000"}', "meta_data: NUL in JSON"),
        (r'{"\u0000": 1}', "meta_data: NUL in JSON"),
        (r'{"a": "\ud800"}', "meta_data: not JSON"),
        ("{a", "meta_data: not JSON"),
    ],
)
def test_json(json, problem):
    assert fault("meta_data", as_field(json)) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2147483647", None),
        ("-2147483648", None),
        (" +7 ", None),
        ("2147483648", "width: integer out of range"),
        ("-2147483649", "width: integer out of range"),
        ("9" * 5000, "width: integer out of range"),
        ("1.5", "width: not an integer"),
        ("٣", "width: not an integer"),
        ("", "width: not an integer"),
        ("NaN", "width: not an integer"),
    ],
)
def test_integers(text, problem):
    assert fault("width", as_field(text)) == problem


def accepts(catalog, text, type_):
    try:
        with catalog.transaction():
            catalog.execute(f"select %s::text::{type_}", [text])
    except psycopg.DataError:
        return False
    return True


@pytest.mark.database
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.sampled_from(["\\", "\\\\", '\\"', "\\u0000", "\\u0001", "u0000", "\\ud800", "x", "\\n"]),
        max_size=6,
    )
)
def test_postgres_agrees_about_json(catalog, pieces):
    json = '["' + "".join(pieces) + '"]'
    assert (fault("tags", as_field(json)) is None) == accepts(catalog, json, "jsonb")


@pytest.mark.database
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.integers(-(2**31) - 3, 2**31 + 3).map(str),
        st.text("0123456789+- .٣\N{NO-BREAK SPACE}", max_size=6),
        st.sampled_from([str(sign * (2**31) + off) for sign in (-1, 1) for off in (-1, 0, 1)]),
    )
)
def test_postgres_agrees_about_integers(catalog, text):
    assert (fault("width", as_field(text)) is None) == accepts(catalog, text, "integer")
