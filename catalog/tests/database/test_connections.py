"""An Airflow connection's extras reach libpq, above all those that make it safe."""

import re
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from catalog.database.connections import arguments_of

SAFE = {"sslmode": "verify-full", "sslrootcert": "/ca.pem", "sslcert": "/c.pem", "keepalives_idle": 60}


def connection(**extra):
    return SimpleNamespace(
        conn_id="c", host="db", port=None, login="me", password="p", schema="catalog", extra_dejson=extra
    )


def test_every_extra_that_libpq_knows_is_passed_on():
    found = arguments_of(connection(**SAFE), application_name="catalog")
    assert found == {
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
    found = arguments_of(connection(iam=True, host="elsewhere", sslmode="require"))
    assert "libpq knows no iam" in caplog.text
    assert (found["host"], found["sslmode"]) == ("db", "require")
    assert "iam" not in found


@pytest.mark.parametrize("file", ["dags/operators/settings.py", "plugins/dashboard.py"])
def test_both_places_that_connect_use_it(file):
    text = (Path(__file__).parents[2] / file).read_text()
    assert re.search(r"psycopg\.connect\(\s*\*\*arguments_of\(found", text)
