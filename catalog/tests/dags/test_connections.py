"""HTTP connections as tasks read them: address, login and extras."""

import ast
import json
from pathlib import Path

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.sensitive import digest_of

DAGS = Path(__file__).parents[2] / "dags"

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


def test_a_list_of_terms_that_changes_during_a_run_is_refused(tmp_path, monkeypatch):
    """A filtered index that lacks terms for an hour of half a list would stay live under a right digest."""
    from catalog.dags.common.connections import sensitive_terms, unchanged_terms

    terms = tmp_path / "terms.txt"
    terms.write_text("one\ntwo\n")
    monkeypatch.setenv("AIRFLOW_VAR_SENSITIVE_TERMS_URL", terms.as_uri())
    began = digest_of(sensitive_terms())
    terms.write_text("two\n# the same terms\none\n")
    assert unchanged_terms(began) == ["one", "two"]
    terms.write_text("one\n")
    with pytest.raises(Fatal, match="has changed since this run began"):
        unchanged_terms(began)
    assert unchanged_terms("") == ["one"]  # a plan of an earlier release


def test_only_the_first_tasks_of_a_run_take_the_list_as_it_is():
    """All others compare it with the one that the run began with."""
    callers = {
        function.name
        for path in DAGS.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "sensitive_terms"
    }
    assert callers == {
        *("rehearse", "begin_version", "unchanged_terms"),
        *("begin", "plan_filtered_index", "plan"),  # `plan` is within the other two
    }


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
