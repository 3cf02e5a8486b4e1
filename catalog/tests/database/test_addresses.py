"""DSNs with arbitrary passwords; no error message contains a password."""

import json
from urllib.parse import quote

import psycopg
import pytest
from airflow.sdk import Connection
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from catalog.core.conninfo import conninfo, fields_of
from catalog.core.errors import Refused
from catalog.data_refresh.search.client import connect_to

ENGINES = [
    "http://es.example:9243",
    "https://es.example:9243",
    "elasticsearch://me:p%40ss@es.example:9243/https?engine=opensearch",
    "http://https://es.example:9243",
    "http://https%3A%2F%2Fes.example:9243/?engine=opensearch",
    "http://es.example/?__extra__=%7B%22engine%22%3A+%22opensearch%22%7D",
    "http://me:p%2Fw@[::1]:9243",
    '{"conn_type": "https", "host": "es.example", "port": 9243}',
    '{"conn_type": "http", "host": "es.example", "port": "", "schema": "https"}',
    '{"conn_type": "http", "host": "https://es.example", "port": "9243", "extra": {"api_key": "a"}}',
    '{"conn_type": "http", "host": "es.example", "extra": "{\\"engine\\": \\"opensearch\\"}"}',
]
PASSWORDS = [
    "plain",
    "a@b",
    "a/b",
    "a#b",
    "a'b",
    'a"b',
    "a b",
    "a%b",
    "a\\b",
    "$a{b}",
    "ä€",
    ":;&?=+",
    " ends ",
]


def parts(address):
    found = conninfo_to_dict(conninfo(address))
    return tuple(found.get(key) for key in ("user", "password", "host", "port", "dbname"))


def address_of(client):
    node = client.transport.node_pool.get()
    return node.base_url, type(node).__name__, client._headers.get("authorization")


@pytest.mark.parametrize("value", ENGINES)
def test_an_engine_is_read_as_airflow_reads_it(value):
    theirs = (
        Connection.from_json(value, "engine")
        if value.startswith("{")
        else Connection.from_uri(value, "engine")
    )
    assert address_of(connect_to(fields_of(value))) == address_of(connect_to(theirs))


@pytest.mark.parametrize(
    "value", ["nonsense", "[]", '{"uri": "https://es:9243"}', '{"port": "x"}', "http://host:port", "{"]
)
def test_what_is_no_connection(value):
    """The message may quote a part of it, and is not shown."""
    try:
        fields_of(value)
    except ValueError:
        return
    pytest.fail("it was read")


@pytest.mark.parametrize("address", ["postgresql://h/d", "postgresql://h/d?application_name=x", "host=h"])
def test_without_options_libpq_reads_those_of_the_environment(address):
    """`PGOPTIONS` counts only if the parameter is absent; an empty one would replace it."""
    assert "options" not in conninfo_to_dict(conninfo(address))


def test_spaces_of_options_as_airflow_writes_them():
    for options in ("-c+statement_timeout%3D5000+-c+a.b%3D1", "-c%20statement_timeout%3D5000%20-c%20a.b%3D1"):
        found = conninfo_to_dict(conninfo(f"postgresql://h/d?options={options}"))
        assert found["options"] == "-c statement_timeout=5000 -c a.b=1"


@pytest.mark.parametrize("password", PASSWORDS)
def test_every_form(password):
    wanted = ("me", password, "db.example.org", "5433", "catalog")
    fields = {"host": wanted[2], "port": 5433, "login": "me", "password": password, "schema": "catalog"}
    uri = f"me:{quote(password, safe='')}@db.example.org:5433/catalog"
    for address in (
        f"postgresql://{uri}",
        f"postgres://{uri}",
        f"postgresql+psycopg2://{uri}",
        f"postgresql://{uri}?{quote('__extra__')}={quote(json.dumps({'sslmode': 'require'}))}",
        psycopg.conninfo.make_conninfo(
            user="me", password=password, host="db.example.org", port=5433, dbname="catalog"
        ),
        json.dumps({"conn_type": "postgres", **fields}),
        Connection(conn_id="c", conn_type="postgres", **fields).get_uri(),
    ):
        assert parts(address) == wanted


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_password(password):
    assert parts(f"postgresql://me:{quote(password, safe='')}@h/d")[1] == password


def test_extras_of_a_connection_count():
    extra = {"sslmode": "verify-full", "iam": False, "connect_timeout": 3}
    for address in (
        json.dumps({"host": "h", "schema": "d", "extra": extra}),
        json.dumps({"host": "h", "schema": "d", "extra": json.dumps(extra)}),
        f"postgres://h/d?__extra__={quote(json.dumps(extra))}",
        "postgres://h/d?sslmode=verify-full&connect_timeout=3",
    ):
        found = conninfo_to_dict(conninfo(address))
        assert (found["sslmode"], found["connect_timeout"]) == ("verify-full", "3")
        assert found["keepalives_idle"] == "60"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@h:port/d",
        "mysql://me:hunter2@h/d",
        "me:hunter2@h/d",
        "host=h password=hunter2 nothing",
        '{"host": "h", "password": "hunter2"',
        '{"password": "hunter2", "port": "many"}',
        "postgresql://me:hunter2@[h/d",
        "postgres://me:hunter2@h/d?__extra__={",
        "host=h passwort=hunter2",
        "postgresql://me:hun@hunter2@h/d",
    ],
)
def test_what_cannot_be_read(address):
    with pytest.raises(
        Refused, match=r"^the address of the database cannot be read; it should be postgresql://"
    ) as raised:
        conninfo(address)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__suppress_context__
