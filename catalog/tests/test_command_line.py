"""A command that fails ends with one line that says what to do, and with a traceback only on request."""

import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from catalog.cli import app as cli
from catalog.cli import program
from catalog.core.errors import Fatal
from catalog.ingestion import page_writer
from catalog.providers.stocksnap.provider import StockSnap
from catalog.tests.conftest import database_of_its_own

ROOT = Path(cli.__file__).parents[1]
AWAY = "postgresql://me:hunter2@127.0.0.1:9/catalog"  # nobody listens on the discard port


@pytest.fixture
def catalog_command(monkeypatch, capsys):
    """Return a function that runs `catalog` and returns its exit status, stdout and lines of stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["catalog", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        found = capsys.readouterr()
        return ended.value.code or 0, found.out, found.err.splitlines()

    for name in [n for n in os.environ if n.startswith(("CATALOG_", "AIRFLOW_CONN_", "AIRFLOW__DATABASE_"))]:
        monkeypatch.delenv(name)
    return run


DATABASE_COMMANDS = [
    ("db", "status"),
    ("db", "upgrade", "--wait", "0"),
    ("db", "restore", "--where", "WHERE provider = 'x'"),
    ("db", "restored"),
]


def refused(result, *words):
    """Check that a command failed with one line that holds the words."""
    status, out, lines = result
    assert (status, len(lines), out) == (1, 1, "")
    assert lines[0].startswith("catalog: ")
    assert "hunter2" not in lines[0]
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_a_server_that_is_not_running(catalog_command, command):
    refused(catalog_command(*command, "--dsn", AWAY), "onnection", "Check that the server is running")


def test_each_schema_has_its_own_database(catalog_command, dsn, api_dsn, monkeypatch):
    """The API's tables never get into the catalog database only because its address is set."""
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    for command in ("upgrade", "status"):
        refused(
            catalog_command("db", command, "--schema", "api"),
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_API: the address of the API",
        )
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API", api_dsn)
    status, out, _ = catalog_command("db", "status", "--schema", "api")
    assert (status, out) == (0, "revision 0001, newest 0001, pending: nothing\n")


def test_gaps_in_the_advice_after_a_restoration_are_named(catalog_command, dsn):
    refused(catalog_command("db", "restored", "--dsn", dsn), "knows of no load", "give --since")
    refused(
        catalog_command("db", "restored", "--dsn", dsn, "--since", "2999-01-01"),
        "2999-01-01 is in the future",
    )
    command = ("db", "restored", "--dsn", dsn, "--since", "2026-01-01", "--conf", '{"limit": 5}')
    status, out, _ = catalog_command(*command)
    assert status == 0
    assert "# This database knows of no load." in out
    assert "none; for that, give --api, or set AIRFLOW_CONN_POSTGRES_OPENLEDGER_API" in out
    assert "# Unknown: give --airflow, or set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN." in out
    assert """airflow dags trigger stocksnap_workflow --conf '{"limit": 5}'""" in out
    assert "publish_dataset" not in out
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into dataset_version (number, run_id, root, stage)"
            " values (1, 'a', 's3://a/b', 'published')"
        )
    _, out, _ = catalog_command(*command)
    assert "publishes the dataset to s3://a/b:\n" in out
    assert """airflow dags trigger publish_dataset --conf '{"successor": true}'""" in out
    refused(catalog_command("db", "restored", "--dsn", dsn, "--conf", "[]"), "--conf should be a JSON object")
    refused(
        catalog_command("db", "restored", "--dsn", dsn, "--airflow", "sqlite:///hunter2"),
        "--airflow: the address",
    )


@pytest.mark.parametrize("option", ["--airflow", "--api"])
def test_nothing_is_released_after_a_restoration_without_all_databases(catalog_command, dsn, catalog, option):
    """Otherwise the repeated command would say that it has stopped no run."""
    catalog.execute("insert into turn (dag_id, run_id) values ('image_data_refresh', 'r')")
    command = ("db", "restored", "--dsn", dsn, "--since", "2026-01-01", option, AWAY)
    refused(catalog_command(*command), option, "onnection", "Check that the server is running")
    assert catalog.execute("select given_up_for, number from turn").fetchall() == [(None, 1)]
    assert catalog.execute("select last_value from turn_number_seq").fetchone() == (1,)


def test_the_catalog_is_not_taken_for_the_database_of_the_api(catalog_command, dsn, catalog):
    """It has the same tables, and would copy nothing back; new pulls would make other identifiers."""
    catalog.execute("insert into turn (dag_id, run_id) values ('image_data_refresh', 'r')")
    command = ("db", "restored", "--dsn", dsn, "--since", "2026-01-01", "--api", dsn)
    refused(catalog_command(*command), "--api leads to a database of a catalog", "Nothing was changed")
    assert catalog.execute("select given_up_for from turn").fetchall() == [(None,)]


@pytest.mark.parametrize(
    "command",
    [
        ("search", "cat", "--media", "video"),
        ("tag-policy", "diff", "--media", "video"),
        ("db", "restore", "--dsn", AWAY, "--where", "WHERE true", "--table", "video"),
        ("db", "adopt", "--dsn", AWAY, "--duplicates", "oldest"),
    ],
)
def test_a_value_that_is_none_of_an_option(catalog_command, command):
    status, _, [line] = catalog_command(*command)
    assert status == 2
    assert "is not" in line


@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_an_address_that_cannot_be_read(catalog_command, command):
    refused(catalog_command(*command, "--dsn", "me:hunter2@h/d"), "it should be postgresql://")


@pytest.mark.database
@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_a_missing_database(catalog_command, server, command):
    refused(
        catalog_command(*command, "--dsn", server.dsn("nowhere")),
        'database "nowhere" does not exist',
        "Check that the server is running",
    )


@pytest.mark.database
@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_a_wrong_password(catalog_command, server, command):
    address = psycopg.conninfo.make_conninfo(server.dsn("migrated"), password="hunter2")
    refused(catalog_command(*command, "--dsn", address), "password authentication failed", "Check")


@pytest.fixture
def powerless(server):
    """Return the address of a database with a schema, for a role without rights."""
    dsn = database_of_its_own(server, "migrated")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop role if exists powerless")
        connection.execute("create role powerless login password 'hunter2'")
    return psycopg.conninfo.make_conninfo(dsn, user="powerless", password="hunter2")


@pytest.mark.database
@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_a_missing_right(catalog_command, powerless, command):
    refused(catalog_command(*command, "--dsn", powerless), "permission denied for table", "Grant the role")


@pytest.mark.database
def test_an_older_catalog_is_recognized(catalog_command, server):
    dsn = database_of_its_own(server, "template0")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table image (identifier uuid)")
    status, out, _ = catalog_command("db", "status", "--dsn", dsn)
    assert status == 1
    said = " ".join(out.split())
    assert "it may be a catalog of an older generation. `catalog db adopt --check` describes it." in said
    refused(
        catalog_command("db", "restored", "--dsn", dsn, "--since", "2026-01-01"), "catalog db adopt --check"
    )


@pytest.mark.database
def test_a_read_only_database(catalog_command, server):
    dsn = database_of_its_own(server, "template0")
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"alter database {name} set default_transaction_read_only = on")
    refused(
        catalog_command("db", "upgrade", "--dsn", dsn, "--wait", "0"), "read-only", "connect to the primary"
    )


@pytest.mark.database
@pytest.mark.parametrize("command", DATABASE_COMMANDS)
def test_any_encoding_of_the_client(catalog_command, server, monkeypatch, command):
    """With SQL_ASCII, set by a role or the environment, strings would come as bytes."""
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    dsn = database_of_its_own(server, "migrated")
    _, _, lines = catalog_command(*command, "--dsn", dsn)
    assert not [line for line in lines if "unexpected" in line]


@pytest.mark.database
def test_an_empty_database_without_rights(catalog_command, server):
    dsn = database_of_its_own(server, "template0")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("revoke all on schema public from public")
        connection.execute("create role newcomer login password 'hunter2'")
    address = psycopg.conninfo.make_conninfo(dsn, user="newcomer", password="hunter2")
    refused(
        catalog_command("db", "upgrade", "--dsn", address),
        "role newcomer may not create objects in the schema public",
        "grant usage, create on schema public to newcomer",
    )


@pytest.mark.database
def test_a_database_without_our_tables(catalog_command, server, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", server.dsn("empty_of_all"))
    server._create(("empty_of_all",))
    refused(
        catalog_command("sample-data", "--rows", "1", "--database", "catalog"),
        "relation",
        "Check that it is the right database",
    )


@pytest.mark.parametrize(
    ("environment", "command", "words"),
    [
        ({}, ("search", "cat"), "AIRFLOW_CONN_ELASTICSEARCH_HTTP_PRODUCTION is not set"),
        (
            {"AIRFLOW_CONN_ELASTICSEARCH_HTTP_PRODUCTION": "http://me:hunter2@127.0.0.1:9"},
            ("search", "cat"),
            "",
        ),
        ({"AIRFLOW_CONN_ELASTICSEARCH_HTTP_PRODUCTION": "{"}, ("search", "cat"), "JSON"),
        (
            {"AIRFLOW_CONN_POSTGRES_OPENLEDGER_API": AWAY},
            ("tag-policy", "explain", "--id", "1"),
            "Check that the server is running",
        ),
        (
            {"AIRFLOW_CONN_POSTGRES_OPENLEDGER_API": AWAY},
            ("tag-policy", "diff"),
            "Check that the server is running",
        ),
        ({}, ("tag-policy", "diff", "--policy", "/nowhere.json"), "/nowhere.json: No such file or directory"),
        ({"AIRFLOW_VAR_TAG_POLICY": "{"}, ("tag-policy", "diff"), "the tag policy is not JSON"),
        (
            {"AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM": AWAY},
            ("sample-data", "--rows", "1"),
            "Check that the server is running",
        ),
        ({}, ("sample-data", "--database", "moon"), "there is no database 'moon'"),
        ({}, ("ingest", "moon"), "moon"),
        ({}, ("ingest", "flickr", "--date", "2024-02-10"), "API_KEY_FLICKR"),
        ({}, ("ingest", "stocksnap", "--replay", "/nowhere"), "/nowhere"),
        (
            {},
            (
                "ingest",
                "stocksnap",
                "--out",
                "/proc/nowhere",
                "--replay",
                str(ROOT / "providers/stocksnap/recording"),
            ),
            "/proc/nowhere",
        ),
        ({}, ("record", "moon", "--out", "/tmp/none"), "moon"),
        ({"PRIVATE_HOSTS": "{"}, ("ingest", "stocksnap"), "PRIVATE_HOSTS is malformed"),
    ],
)
def test_any_wrong_setting_or_argument(catalog_command, monkeypatch, environment, command, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused(catalog_command(*command), words)


REPLAY = ("ingest", "stocksnap", "--replay", str(ROOT / "providers/stocksnap/recording"))


def test_a_day_for_a_provider_without_days_is_refused(catalog_command):
    refused(catalog_command(*REPLAY, "--date", "2024-02-10"), "stocksnap has no days", "leave out the date")


def test_a_pull_without_out_leaves_nothing_behind(catalog_command, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status, out, lines = catalog_command(*REPLAY, "--json")
    assert (status, json.loads(out)["parts"], list(tmp_path.iterdir())) == (0, [], [])
    assert "TSV parts were written, and deleted: give --out to keep them" in " ".join(lines)


def test_an_error_of_a_mapping_shows_the_item_and_the_traceback_on_request(
    catalog_command, tmp_path, monkeypatch
):
    monkeypatch.setattr(StockSnap, "record", lambda self, raw: raw["vessel"])
    command = (*REPLAY, "--out", str(tmp_path))
    status, _, lines = catalog_command(*command)
    said = " ".join(lines)
    assert status == 1
    assert "rejected, mapping failed: KeyError: 'vessel' (test_command_line.py:" in said
    assert 'the first item: {"' in said
    assert "CATALOG_TRACEBACK=1 in the environment shows the tracebacks" in said
    assert re.search(r"0 TSV parts and \d files of rejects in " + re.escape(str(tmp_path)), said)
    assert "Traceback" not in said
    monkeypatch.setenv(program.TRACEBACK, "1")
    _, _, lines = catalog_command(*REPLAY)
    assert sum("mapping failed: KeyError" in line for line in lines if line.startswith("DEBUG")) == 1
    assert any("Traceback (most recent call last)" in line for line in lines)
    assert not page_writer.log.handlers


@pytest.mark.enable_socket
def test_the_requests_may_go_to_a_test_server_which_gets_no_key(catalog_command, monkeypatch, httpserver):
    monkeypatch.setenv("API_KEY_JAMENDO", "hunter2")
    page = {"headers": {"status": "success", "results_fullcount": 0, "results_count": 0}, "results": []}
    httpserver.expect_request("/fake/v3.0/tracks").respond_with_json(page)
    command = ("ingest", "jamendo", "--accept-shortfall", "--base-url", httpserver.url_for("/fake/"))
    status, _, lines = catalog_command(*command)
    assert (status, "no whole collection has" in " ".join(lines)) == (1, True)
    assert len(httpserver.log) == 2  # that there is nothing is asked twice
    for request, _ in httpserver.log:
        assert (request.args["limit"], "client_id" in request.args) == ("200", False)
    refused(
        catalog_command(*command[:-1], "127.0.0.1:80"), "'127.0.0.1:80' is not an address; use one such as"
    )


@pytest.mark.enable_socket
def test_an_interrupted_day_is_not_resumed_as_another_one(catalog_command, httpserver, tmp_path):
    page = {"numRecordings": "2", "numPages": 1, "recordings": []}
    httpserver.expect_request("/api/3/recordings").respond_with_json(page)
    command = ("ingest", "xeno_canto", "--out", str(tmp_path), "--base-url", httpserver.url_for("/"))
    for day in ("2024-02-10", "2024-02-11"):
        assert "0 of 2 announced items came" in " ".join(catalog_command(*command, "--date", day)[2])
    kept = sorted(path.name for path in tmp_path.glob("*.checkpoint.json"))
    assert kept == [f"xeno_canto_2024-02-{day}.checkpoint.json" for day in (10, 11)]


JAMENDO = {"headers": {"status": "success", "results_fullcount": 5, "results_count": 0}, "results": []}


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("ingest",), "No files remain; give --out to keep them. Look at the API's responses"),
        (
            ("ingest", "--out", "{folder}/parts"),
            "What came is in {folder}/parts. Look at the API's responses",
        ),
        (
            ("record", "--limit", "0", "--out", "{folder}/recording"),
            "The responses are in {folder}/recording",
        ),
    ],
)
def test_a_pull_that_is_not_whole_says_what_the_command_did(
    catalog_command, httpserver, tmp_path, command, words
):
    """There is no task to clear, nothing was loaded, and no DAG runs."""
    httpserver.expect_request("/v3.0/tracks").respond_with_json(JAMENDO)
    name, *options = (part.format(folder=tmp_path) for part in command)
    status, _, lines = catalog_command(name, "jamendo", *options, "--base-url", httpserver.url_for("/"))
    said = " ".join(lines)
    assert status == 1
    assert "jamendo is NOT WHOLE: 0 of 5 announced items came" in said
    assert words.format(folder=tmp_path) in said
    assert not re.search(r"\btasks?\b|\bload|\bDAGs?\b|\bconf\b", said)


def test_a_recording_with_another_total_says_what_to_correct(catalog_command, tmp_path):
    """Also an error of the paging says nothing of tasks."""
    shutil.copytree(ROOT / "providers/smk/recording", tmp_path / "smk")
    for page in (tmp_path / "smk").glob("*.json"):
        text = re.sub(r'"found": \d+', '"found": 900', page.read_text())
        page.write_text(text)
    status, _, lines = catalog_command("ingest", "smk", "--replay", str(tmp_path / "smk"))
    assert status == 1
    assert "Totals and numbers of pages in a recording must be those of the items" in lines[-1]
    assert "task" not in lines[-1]


@pytest.mark.enable_socket
def test_a_test_server_is_recorded_under_the_address_of_the_api(catalog_command, httpserver, tmp_path):
    httpserver.expect_request("/fake/v3.0/tracks").respond_with_json(JAMENDO)
    command = ("record", "jamendo", "--out", str(tmp_path), "--base-url", httpserver.url_for("/fake"))
    assert catalog_command(*command)[0] == 0
    [interaction, *_] = json.loads((tmp_path / "recording.json").read_text())["interactions"]
    assert interaction["request"]["url"] == "https://api.jamendo.com/v3.0/tracks"
    assert interaction["response"]["body_file"] == "body_0000.json"


@pytest.mark.enable_socket
@pytest.mark.parametrize("command", [("ingest", "stocksnap"), ("record", "stocksnap", "--out", "{folder}")])
def test_a_private_address_names_the_ways_to_a_server_of_one_s_own(
    catalog_command, httpserver, tmp_path, monkeypatch, command
):
    monkeypatch.setattr(
        StockSnap.pages, "url", httpserver.url_for("/{page}").replace("localhost", "127.0.0.1")
    )
    _, _, lines = catalog_command(*(part.format(folder=tmp_path) for part in command))
    assert "127.0.0.1 is not on the public internet. If it is a server of your own" in lines[-1]
    assert "--base-url" in lines[-1]
    assert """PRIVATE_HOSTS='["127.0.0.1"]'""" in lines[-1]


def test_a_full_disk_names_the_file_and_how_to_resume(tmp_path):
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))  # a larger file is an error without a name

    command = [sys.executable, "-m", "catalog.cli", *REPLAY]
    # Python would cut off the bytecode of a changed module, too, and later processes would fail to read it.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for more, advice in ((["--out", str(tmp_path)], "the same command resumes there"), ([], "give --out")):
        found = subprocess.run(
            [*command, *more], capture_output=True, text=True, preexec_fn=no_room, env=environment
        )
        last = found.stderr.splitlines()[-1]
        assert found.returncode == 1
        assert re.search(r"/stocksnap_image_\S+\.tsv: File too large\. Earlier pages are complete", last)
        assert advice in last
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        RuntimeError(""),
        sqlalchemy.exc.ArgumentError("Could not parse postgresql://me:hunter2@h/d"),
        sqlalchemy.exc.OperationalError(
            "select 1", {}, psycopg.OperationalError("connection to postgresql://me:hunter2@h failed")
        ),
        psycopg.OperationalError("two\n\tlines, password=hunter2"),
        ValueError("https://api.example.org/items?page=1&api_key=hunter2, sig='hunter2 hunter2'"),
        ValueError("PGPASSWORD=hunter2 X-Api-Key=hunter2 client.secret=a&hunter2"),
        OSError(28, "No space left on device", "/tmp/x"),
        Fatal("known"),
        PermissionError(13, "Permission denied", "/x"),
        TimeoutError(),
        ConnectionResetError("by peer"),
    ],
)
def test_any_exception(capsys, monkeypatch, error):
    monkeypatch.delenv(program.TRACEBACK, raising=False)

    def fails():
        raise error

    with pytest.raises(SystemExit) as ended:
        program.run(fails, "just")
    lines = capsys.readouterr().err.splitlines()
    assert (ended.value.code, len(lines)) == (1, 1)
    assert lines[0].startswith("just: ")
    assert len(lines[0]) > len("just: ")
    assert "hunter2" not in lines[0]


def test_what_only_looks_secret_is_shown():
    text = "no answer to https://example.org/?keyword=cat&author=ada&pageToken=2 (monkey=1, a==b, =c)"
    assert text in program.in_one_line(ValueError(text))


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("moon",), "No such command"),
        (("db", "status", "--nope"), "No such option"),
        (("ingest",), "provider"),
        (("db", "restore", "--dsn", AWAY), "--where"),
        (("db", "upgrade", "--wait", "long"), "--wait"),
        (("db", "status", AWAY), "unexpected extra argument"),
        (("search", "x", "--size", "0"), "--size"),
    ],
)
def test_wrong_usage(catalog_command, command, words):
    status, out, lines = catalog_command(*command)
    assert (status, len(lines), out) == (2, 1, "")
    assert words.lower() in lines[0].lower()
    assert "hunter2" not in lines[0]
    assert lines[0].endswith("; --help shows the usage")


@pytest.mark.parametrize(
    ("module", "arguments", "status", "name"),
    [
        ("scaffold", ["Museum"], 2, "just add-provider"),
        ("soak", ["--minutes", "long"], 2, "just soak"),
        ("local", ["nosuch"], 2, "just"),
        ("benchmarks", ["nosuch"], 1, "just bench"),
        ("mutants", ["nosuch"], 1, "just mutants"),
        ("scaffold.rows", ["nosuch"], 1, "just expect"),
    ],
)
def test_wrong_usage_of_a_recipe(module, arguments, status, name):
    """Each program of the justfile reports a mistake in one line, too."""
    result = subprocess.run(
        [sys.executable, "-m", f"catalog.{module}", *arguments],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    [line] = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (status, "")
    assert line.startswith(f"{name}: ")


def test_the_form_of_an_address_is_shown(catalog_command):
    _, _, [line] = catalog_command("db", "status", "--dsn", "postgresql://me:hun@hunter2@h/d")
    assert "postgresql://user:password@host:port/database" in line
    assert "hunter2" not in line


@pytest.mark.database
def test_a_locked_version_table(catalog_command, dsn):
    with psycopg.connect(dsn) as holder:
        holder.execute("lock table catalog_version in access exclusive mode")
        for command in (("db", "status"), ("db", "upgrade", "--wait", "0")):
            refused(
                catalog_command(*command, "--dsn", dsn), "lock timeout. Another session holds a lock on it"
            )


def test_a_traceback_on_request(capsys, monkeypatch):
    monkeypatch.setenv(program.TRACEBACK, "1")
    empty: dict[str, None] = {}
    with pytest.raises(SystemExit):
        program.run(lambda: empty["nothing"], "just")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "just: unexpected KeyError" in shown


def test_the_reader_of_the_output_may_close_it():
    """An example is `catalog providers | head -1`."""
    command = [sys.executable, "-m", "catalog.cli", "providers"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT.parent
    ) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        shown = process.stderr.read().decode()
    assert "Traceback" not in shown
    assert "BrokenPipe" not in shown


ENDS_OTHERWISE = {
    "local/supervisor.py": "runs detached and writes a log",
    "containers/with_secrets.py": "imports the standard library only",
    "containers/healthy.py": "a health check, which imports as little as it can",
}


def test_every_program_ends_through_the_same_function():
    programs = [
        path
        for path in ROOT.rglob("*.py")
        if "tests" not in path.parts and "__main__" in path.read_text(encoding="utf-8")
    ]
    found = {}
    for path in programs:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
                found[path.relative_to(ROOT).as_posix()] = ast.unparse(node.body[-1])
    named = {name for name, text in found.items() if not text.startswith("program.run") and text != "main()"}
    by_main = {name for name, text in found.items() if text == "main()"}
    assert named == set(ENDS_OTHERWISE)
    for name in by_main:
        assert "program.run" in (ROOT / name).read_text(encoding="utf-8")
