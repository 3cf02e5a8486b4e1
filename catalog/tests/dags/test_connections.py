"""HTTP connections as tasks read them: address, login and extras."""

import ast
import gzip
import json
import re
import zlib
from pathlib import Path

import psycopg
import pytest
from werkzeug import Response

from catalog.core.errors import Fatal, Retry
from catalog.core.settings import CATALOG_DB
from catalog.data_refresh.search.sensitive import digest_of

DAGS = Path(__file__).parents[2] / "dags"

pytestmark = [pytest.mark.airflow, pytest.mark.enable_socket]


@pytest.mark.parametrize("form", ["path in the schema", "protocol in the schema", "address as the host"])
def test_sensitive_terms_are_fetched_with_all_settings_of_the_connection(httpserver, monkeypatch, form):
    from catalog.dags.common.sensitive_terms import sensitive_terms

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


SIGNED = "/terms.txt?sv=2&sig=canary%2Fsignature"


@pytest.fixture
def terms(httpserver, monkeypatch):
    """Return a function that fetches the list from a path of the server, by the Variable."""

    def fetch(response, path=SIGNED):
        from catalog.dags.common.sensitive_terms import sensitive_terms

        httpserver.expect_request("/terms.txt").respond_with_response(response)
        monkeypatch.setenv("AIRFLOW_VAR_SENSITIVE_TERMS_URL", httpserver.url_for(path))
        return sensitive_terms()

    return fetch


@pytest.mark.parametrize(
    ("status", "error", "wait"), [(403, Fatal, None), (404, Fatal, None), (429, Retry, 7), (503, Retry, 7)]
)
def test_an_error_about_the_list_of_terms_shows_no_signature(terms, status, error, wait):
    """Neither of the address nor of the body, which may repeat it."""
    headers = {"Retry-After": "7"}
    with pytest.raises(error, match=f"status {status}") as raised:
        terms(Response("sig=canary", status, headers))
    assert "canary" not in str(raised.value)
    assert getattr(raised.value, "retry_after", None) == wait


def test_a_server_without_an_answer_is_asked_again(terms, monkeypatch):
    from catalog.dags.common.sensitive_terms import sensitive_terms

    monkeypatch.setenv("AIRFLOW_VAR_SENSITIVE_TERMS_URL", f"http://127.0.0.1:9{SIGNED}")
    with pytest.raises(Retry) as raised:
        sensitive_terms()
    assert "canary" not in str(raised.value)


def test_secrets_of_the_address_are_masked_in_the_log(terms):
    from airflow.sdk._shared.secrets_masker import redact

    assert terms(Response("one\n"), SIGNED.replace("canary", "masked")) == ["one"]
    assert redact("sig=masked%2Fsignature or masked/signature") == "sig=*** or ***"


def test_a_list_without_an_end_is_refused(terms, monkeypatch):
    monkeypatch.setattr("catalog.ingestion.download.MAX_BYTES", 100)
    with pytest.raises(Fatal, match="larger than 100 bytes"):
        terms(Response("term\n" * 100))
    monkeypatch.setattr("catalog.ingestion.download.MAX_BYTES", 500)
    assert terms(Response("term\n" * 100)) == ["term"]


LIST = b"one\n" + b"other\n" * 1000


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (Response(LIST, 206), "status 206 is not that of a complete file"),
        (Response("", 204), "status 204"),
        (Response(gzip.compress(LIST)[:-30], headers={"Content-Encoding": "gzip"}), "ends early"),
        (Response(zlib.compress(LIST)[:-9], headers={"Content-Encoding": "deflate"}), "ends early"),
        (Response(LIST, headers={"Content-Encoding": "gzip"}), "could not be decompressed"),
        (Response(LIST, headers={"Content-Encoding": "br"}), "could not be decompressed"),
    ],
)
def test_a_part_of_a_list_is_not_the_list(terms, response, problem):
    with pytest.raises(Retry, match=problem) as raised:
        terms(response)
    listed = r"the list of sensitive terms \(Variable SENSITIVE_TERMS_URL\) cannot be read: GET http://"
    assert re.match(listed, str(raised.value))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(LIST)),
        ("deflate", zlib.compress(LIST)),
        ("gzip", gzip.compress(b"one\n") + gzip.compress(b"other\n")),
    ],
    ids=["gzip", "deflate", "gzip with two members"],
)
def test_a_list_that_is_compressed_unasked(terms, encoding, body):
    assert terms(Response(body, headers={"Content-Encoding": encoding})) == ["one", "other"]


def test_a_list_that_is_no_text_is_refused(terms):
    with pytest.raises(Fatal, match=r"is not UTF-8\.$"):
        terms(Response(b"\xff\xfeone"))


def test_another_host_gets_no_secret_of_the_connection(httpserver, monkeypatch):
    """A storage may redirect to a signed address, which needs none; a .netrc is not read."""
    from catalog.dags.common.sensitive_terms import sensitive_terms

    for path, target in (("/here", "/there"), ("/there", f"http://127.0.0.1:{httpserver.port}/away")):
        moved = Response(status=302, headers={"Location": target})
        httpserver.expect_request(path).respond_with_response(moved)
    httpserver.expect_request("/away").respond_with_data("one")
    connection = {"conn_type": "http", "login": "me", "password": "p", "extra": {"X-Key": "k"}}
    address = {"host": httpserver.url_for("/here")}
    monkeypatch.setenv("AIRFLOW_CONN_SENSITIVE_TERMS", json.dumps({**connection, **address}))
    assert sensitive_terms() == ["one"]
    assert [(r.path, r.headers.get("X-Key"), r.headers.get("Authorization")) for r, _ in httpserver.log] == [
        ("/here", "k", "Basic bWU6cA=="),
        ("/there", "k", "Basic bWU6cA=="),
        ("/away", None, None),
    ]


def test_a_list_of_terms_that_changes_during_a_run_is_refused(tmp_path, monkeypatch):
    """A filtered index that lacks terms for an hour of half a list would stay live under a right digest."""
    from catalog.dags.common.sensitive_terms import sensitive_terms, unchanged_terms

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


def test_a_list_of_terms_that_is_missing_or_not_text_is_named(tmp_path, monkeypatch):
    from catalog.dags.common.sensitive_terms import sensitive_terms

    terms = tmp_path / "terms.txt"
    monkeypatch.setenv("AIRFLOW_VAR_SENSITIVE_TERMS_URL", terms.as_uri())
    with pytest.raises(Fatal, match=r"terms\.txt, is missing"):
        sensitive_terms()
    terms.write_bytes(b"one\n\xff\n")
    with pytest.raises(Fatal, match="is not UTF-8"):
        sensitive_terms()


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
        *("begin", "plan", "_plan"),  # `plan` is within `begin`
        "_check",  # of an index to which an alias is moved, each time
    }


@pytest.mark.database
@pytest.mark.parametrize("autocommit", [True, False])
def test_a_connection_of_a_task_has_fixed_settings(dsn, monkeypatch, autocommit):
    """It has them whatever the database's defaults are, and after the first transaction was rolled back."""
    from catalog.dags.common.connections import catalog_connection

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
