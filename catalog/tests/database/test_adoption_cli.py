"""`catalog db adopt`, as an operator types it."""

import pytest
from typer.testing import CliRunner

from catalog.cli import app
from catalog.tests.database.adopted import OLDEST, connected, duplicate, old

pytestmark = pytest.mark.database
__all__ = ["old"]


def run(*arguments):
    """What the command says; exit code, stdout and stderr together."""
    result = CliRunner().invoke(app, ["db", *arguments])
    return result.exit_code, " ".join(result.output.split()), str(result.exception or "")


def test_a_look_and_an_adoption(old):
    dsn = old("2022", rows=50)
    code, text, _ = run("adopt", "--check", "--dsn", dsn)
    assert code == 0
    for part in (
        "An older catalog, generation 2022: url is unique; audio_view with audio_set_foreign_identifier",
        "1. image: add standardized_popularity alter table public.image add column",
        "locks ACCESS EXCLUSIVE on image, an instant",
        "drop materialized view public.image_view",
        "and statements of revision 0001: 12 functions, 1 indexes, 2 lists of metrics, 4 tables, 3 views",
        "foreign_identifier stay of type varchar(3000) because of index …_provider_fid_idx",
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
        assert "the catalog's own already" in error
        assert "catalog db upgrade" in error


def test_what_is_in_the_way_is_said_line_by_line(old):
    dsn = old(OLDEST, rows=50)
    with connected(dsn) as connection:
        duplicate(connection)
        connection.execute("create view their_sets as select * from audioset_view")
    for arguments in (["--check"], []):
        code, text, error = run("adopt", *arguments, "--dsn", dsn)
        assert code == 1
        assert text.count("in the way: ") == 3
        assert (
            "in the way: view their_sets depends on the view audioset_view, which is replaced: keep its definition"
            in text
        )
        assert "3 things are in the way; nothing was changed" in error
    with connected(dsn) as connection:
        connection.execute("drop view their_sets")
    assert run("adopt", "--duplicates", "newest", "--dsn", dsn)[0] == 0


def test_an_upgrade_of_an_older_catalog_says_what_to_do(old):
    code, _, error = run("upgrade", "--dsn", old("2022", rows=10))
    assert code == 1
    assert "catalog db adopt --check" in error
