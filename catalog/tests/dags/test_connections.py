"""HTTP connections as tasks read them: address, login and extras."""

import json

import psycopg
import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.enable_socket]


@pytest.mark.parametrize("form", ["path in the schema", "protocol in the schema", "address as the host"])
def test_sensitive_terms_are_fetched_with_all_settings_of_the_connection(httpserver, monkeypatch, form):
    from catalog.dags.common.connections import sensitive_terms

    path = "/" if form == "protocol in the schema" else "/list/terms.txt"
    httpserver.expect_request(
        path, headers={"X-Key": "k", "Authorization": "Basic bWU6cA=="}
    ).respond_with_data("one\ntwo\n")
    address = {
        "path in the schema": {"host": "http://127.0.0.1", "port": httpserver.port, "schema": path},
        "protocol in the schema": {"host": "127.0.0.1", "port": httpserver.port, "schema": "http"},
        "address as the host": {"host": httpserver.url_for(path)},
    }[form]
    connection = {
        "conn_type": "http",
        "login": "me",
        "password": "p",
        "extra": {"X-Key": "k", "verify": False},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SENSITIVE_TERMS", json.dumps({**connection, **address}))
    assert sensitive_terms() == ["one", "two"]


@pytest.mark.database
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_connection_of_a_task_has_fixed_settings(dsn, monkeypatch, autocommit):
    """It has them whatever the database's defaults are, and after the first transaction was rolled back."""
    from catalog.dags.common.connections import CATALOG_DB, catalog_connection

    with psycopg.connect(dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"alter database {name} set statement_timeout = '5min'")
    monkeypatch.setenv(f"AIRFLOW_CONN_{CATALOG_DB.upper()}", dsn)
    with catalog_connection(autocommit) as connection:
        connection.rollback()
        query = """
            select current_setting('search_path'),
                   current_setting('statement_timeout'),
                   current_setting('row_security')
        """
        assert connection.execute(query).fetchone() == ("public, pg_temp", "0", "off")
        assert connection.autocommit is autocommit
