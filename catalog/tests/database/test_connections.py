"""The extras of an Airflow connection reach libpq, above all those for security."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from catalog.core.connections import KEEPALIVE_OPTIONS, Reconnecting, arguments_of
from catalog.core.session import raise_memory
from catalog.tests.values import present
from catalog.tests.waiting import terminate

SAFE = {"sslmode": "verify-full", "sslrootcert": "/ca.pem", "sslcert": "/c.pem", "keepalives_idle": 30}


def connection(**extra):
    return SimpleNamespace(
        conn_id="c", host="db", port=None, login="me", password="p", schema="catalog", extra_dejson=extra
    )


def test_every_extra_that_libpq_knows_is_passed_on():
    found = arguments_of(connection(**SAFE), application_name="catalog")
    assert found == {
        **KEEPALIVE_OPTIONS,
        **SAFE,
        "application_name": "catalog",
        "host": "db",
        "port": 5432,
        "user": "me",
        "password": "p",
        "dbname": "catalog",
    }
    psycopg.conninfo.make_conninfo(**found)


def test_both_options_count():
    found = arguments_of(connection(options="-c search_path=x"), options="-c statement_timeout=5000")
    assert found["options"] == "-c statement_timeout=5000 -c search_path=x"


def test_what_libpq_does_not_know_is_named_and_no_field_is_replaced(caplog):
    found = arguments_of(connection(iam=True, sslmod="x", host="elsewhere", sslmode="require"))
    assert "libpq knows no sslmod;" in caplog.text
    assert (found["host"], found["sslmode"]) == ("db", "require")
    assert "iam" not in found


@pytest.mark.parametrize("file", ["dags/common/connections.py", "plugins/dashboard/connections.py"])
def test_both_places_that_connect_use_it(file):
    text = (Path(__file__).parents[2] / file).read_text()
    assert re.search(
        r"arguments = with_token\(arguments_of\(\w+, .*\n.*psycopg\.connect\(\*\*arguments,", text
    )


@pytest.mark.airflow
def test_a_login_by_identity_gets_a_token(monkeypatch):
    from airflow.sdk import Connection

    from catalog.dags.common.iam import with_token

    aws = {
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": {"region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(aws))
    found = Connection(
        conn_id="c", conn_type="postgres", host="db.example.org", login="me", extra=json.dumps({"iam": True})
    )
    arguments = with_token(arguments_of(found), found)
    assert (arguments["user"], arguments["port"]) == ("me", 5432)
    assert arguments["password"].startswith("db.example.org:5432/?Action=connect&DBUser=me")
    plain = Connection(conn_id="c", conn_type="postgres", host="db", login="me", password="p")
    assert with_token(arguments_of(plain), plain)["password"] == "p"


def cut(dsn, pid):
    with psycopg.connect(dsn, autocommit=True) as other:
        terminate(other, pid)


@pytest.mark.database
def test_a_lost_connection_is_reopened(dsn):
    """An interrupted statement is repeated, a missing server is retried, and an SQL error is raised."""
    slept: list[float] = []
    refused = [psycopg.OperationalError("starting up")] * 3
    made: list[psycopg.Connection] = []

    def connect():
        if made and refused:
            raise refused.pop()
        made.append(psycopg.connect(dsn, autocommit=True))
        return made[-1]

    connection = Reconnecting(connect, sleep=slept.append)
    [pid] = present(connection.execute("select pg_backend_pid()").fetchone())
    cut(dsn, pid)
    [another] = present(connection.execute("select pg_backend_pid()").fetchone())
    assert another != pid
    assert (len(made), slept) == (2, [1, 1, 1])
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("select * from no_such_table")
    with pytest.raises(psycopg.errors.QueryCanceled):  # an OperationalError, too
        connection.execute("set statement_timeout = '1ms'; select pg_sleep(5)")
    assert len(made) == 2
    connection.close()


@pytest.mark.database
def test_a_server_that_stays_away_is_an_error(dsn):
    made: list[psycopg.Connection] = []

    def connect():
        if made:
            raise psycopg.OperationalError("away")
        made.append(psycopg.connect(dsn, autocommit=True))
        return made[-1]

    connection = Reconnecting(connect, max_wait=0, sleep=lambda _: None)
    [pid] = present(connection.execute("select pg_backend_pid()").fetchone())
    cut(dsn, pid)
    with pytest.raises(psycopg.OperationalError, match="away"):
        connection.execute("select 1")


@pytest.mark.parametrize(("configured", "expected"), [("4MB", "256MB"), ("1GB", "1GB")])
def test_memory_is_raised_and_never_lowered(catalog, configured, expected):
    catalog.execute(f"set work_mem = '{configured}'")
    with catalog.transaction():
        raise_memory(catalog, "work_mem", "256MB")
        assert catalog.execute("show work_mem").fetchone() == (expected,)
    assert catalog.execute("show work_mem").fetchone() == (configured,)
    raise_memory(catalog, "work_mem", "256MB", transaction_only=False)
    assert catalog.execute("show work_mem").fetchone() == (expected,)
