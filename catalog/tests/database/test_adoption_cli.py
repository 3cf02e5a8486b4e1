"""The command `catalog db adopt`."""

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from catalog.cleaning.inspection import inspect_rows
from catalog.cli.app import app
from catalog.tests.database.adopted import OLDEST, connected, contents, duplicate, old, shape

pytestmark = pytest.mark.database
__all__ = ["old"]


def run(*arguments):
    """Run the command; return its exit code and its combined output."""
    result = CliRunner().invoke(app, ["db", *arguments])
    return result.exit_code, " ".join(result.output.split()), str(result.exception or "")


def test_a_check_and_an_adoption(old):
    dsn = old("2022", rows=50)
    code, text, _ = run("adopt", "--check", "--dsn", dsn)
    assert code == 0
    for part in (
        "An older catalog, generation 2022: url is unique; audio_view with audio_set_foreign_identifier",
        "1. image: add standardized_popularity alter table public.image add column",
        "locks ACCESS EXCLUSIVE on image, an instant",
        "drop materialized view public.image_view",
        "and statements of revision 0001: 12 functions, 1 indexes, 2 lists of metrics, 4 tables, 3 views",
        "foreign_identifier keep the type varchar(3000) because of index …_provider_fid_idx",
        "table load_image_20230101_flickr: loading table of the older catalog",
    ):
        assert part in text
    assert run("status", "--dsn", dsn)[0] == 1
    code, text, _ = run("adopt", "--dsn", dsn)
    assert code == 0
    assert "1/6 image: add standardized_popularity 1/6 done in" in text
    assert "catalog database: adopted; revision" in text
    assert run("status", "--dsn", dsn)[0] == 0
    for arguments in (["--check"], []):
        code, _, error = run("adopt", *arguments, "--dsn", dsn)
        assert code == 1
        assert "a current catalog already" in error
        assert "catalog db upgrade" in error


def test_a_check_reports_what_is_in_the_rows(old):
    """Each rule has its count, exact or from a sample, and examples; the check changes nothing."""
    dsn = old("2022", rows=3000)
    with connected(dsn) as connection:
        connection.execute("""
            update image set title = 'A &amp; ' || identifier, width = 0, license = 'by',
                   license_version = '4.0', meta_data = '{"license_url": "https://creativecommons.org/licenses/by/4.0/"}'
        """)
        connection.execute(
            "update image set license = 'gpl' where identifier in (select identifier from image limit 3)"
        )
        columns, before = contents(connection)
        [images] = connection.execute("select count(*) from image").fetchone()
    code, text, _ = run("adopt", "--check", "--dsn", dsn)
    assert code == 0
    assert f"image, texts: {images:,} rows can be cleaned" in text
    assert "3 stay: a license that Creative Commons does not have, such as" in text
    assert "'A &amp; " in text
    code, _, _ = run("adopt", "--check", "--json", "--dsn", dsn)
    found = json.loads(CliRunner().invoke(app, ["db", "adopt", "--check", "--json", "--dsn", dsn]).stdout)
    numbers = {(one["table"], one["rule"]): one for one in found["rows"]}
    assert numbers["image", "numbers"]["rows"] == images
    assert numbers["image", "numbers"]["exact"] is True
    assert found["database"]["generation"]["name"] == "2022"
    with connected(dsn) as connection:
        [one] = [
            f for f in inspect_rows(connection, sample=1500) if (f.table, f.rule) == ("image", "numbers")
        ]
        assert (one.exact, 0 < one.read < images) == (False, True)
        assert images / 3 < one.rows < images * 3
        assert contents(connection, columns)[1] == before
    assert run("adopt", "--json", "--dsn", dsn)[0] == 1


def test_obstacles_are_listed_line_by_line(old):
    dsn = old(OLDEST, rows=50)
    with connected(dsn) as connection:
        duplicate(connection)
        connection.execute("create view their_sets as select * from audioset_view")
    for arguments in (["--check"], []):
        code, text, error = run("adopt", *arguments, "--dsn", dsn)
        assert code == 1
        assert text.count("obstacle: ") == 3
        assert (
            "obstacle: view their_sets depends on the view audioset_view, "
            "which is replaced: keep its definition" in text
        )
        assert "3 obstacles prevent the adoption; nothing was changed" in error
    with connected(dsn) as connection:
        connection.execute("drop view their_sets")
    assert run("adopt", "--duplicates", "newest", "--dsn", dsn)[0] == 0


def test_an_upgrade_of_an_older_catalog_explains_what_to_do(old):
    code, _, error = run("upgrade", "--dsn", old("2022", rows=10))
    assert code == 1
    assert "catalog db adopt --check" in error


def test_a_killed_command_is_repeated(old):
    """After SIGKILL during a move or an index build, the same command completes with the same result."""
    dsn = old(OLDEST, rows=2000)
    with connected(dsn) as connection:
        duplicate(connection)
        columns, _ = contents(connection)
    columns = {table: [c for c in names if c != "deleted_on"] for table, names in columns.items()}
    copy = f"{dsn.rpartition('/')[2]}_killed"
    with connected(dsn.replace(dsn.rpartition("/")[2], "postgres")) as connection:
        connection.execute(f"create database {copy} template {dsn.rpartition('/')[2]}")
    killed = f"{dsn.rpartition('/')[0]}/{copy}"
    command = [sys.executable, "-m", "catalog.cli", "db", "adopt", "--duplicates", "newest", "--dsn", killed]
    for step in (r"\d+/\d+ move older rows", r"\d+/\d+ make url unique in image"):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            assert any(re.match(step, line) for line in process.stderr)
            process.kill()
    assert run("adopt", "--duplicates", "newest", "--dsn", killed)[0] == 0
    assert run("adopt", "--duplicates", "newest", "--dsn", dsn)[0] == 0
    with connected(killed) as one, connected(dsn) as other:
        assert shape(one) == shape(other)
        assert contents(one, columns) == contents(other, columns)
