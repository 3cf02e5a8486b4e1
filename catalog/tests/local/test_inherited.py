"""Modules that processes inherit from their parent, and processes that have to import them again."""

import os
import subprocess
import sys
import textwrap

import pytest

from catalog.local.components import modules_of_tasks

PARENT = """
    import os, sys
    from pathlib import Path
    from catalog.local.inherited import import_before_forking

    package = Path(sys.argv[1])
    import_before_forking(package, ["made_up.rows", "made_up.broken"], ["tests", "__pycache__"])
    exec(sys.argv[2])
    if (pid := os.fork()) == 0:
        inherited = "made_up.rows" in sys.modules
        from made_up.rows import ROWS
        print(inherited, ROWS, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "made_up"
    (folder / "sql").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "counts.py").write_text("COUNT = 1\n")
    (folder / "rows.py").write_text("from made_up.counts import COUNT\n\nROWS = COUNT * 10\n")
    (folder / "broken.py").write_text("raise ValueError\n")
    (folder / "sql" / "select.sql").write_text("select")
    for place in (folder, folder / "sql"):
        (place / ".#locked").symlink_to("somebody@a.machine")  # by an editor
    return folder


@pytest.mark.parametrize(
    ("edit", "seen"),
    [
        ("pass", "True 10"),
        ("(package / 'counts.py').write_text('COUNT = 230')", "False 2300"),
        ("(package / 'sql' / 'select.sql').write_text('select 1')", "False 10"),
        ("(package / 'sql' / 'new.sql').touch()", "False 10"),
        ("(package / 'broken.py').unlink()", "False 10"),
        ("(package / 'tests').mkdir(); (package / 'tests' / 'test_rows.py').touch()", "True 10"),
    ],
)
def test_an_edit_takes_effect_with_the_next_process(package, edit, seen):
    """Also that of a file that modules only read; without an edit nothing is imported twice."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PARENT), package, edit],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (ran.stdout.strip(), ran.stderr) == (seen, "")


def test_dag_files_are_left_to_the_processes_that_parse_them():
    modules = set(modules_of_tasks())
    assert {"catalog.dags.dag_factory", "catalog.dags.tasks.load", "catalog.loading.load"} <= modules
    assert "catalog.providers.stocksnap.provider" in modules
    assert not modules & {
        "catalog.dags.data_refresh",
        "catalog.local.stack",
        "catalog.database.migrations.env",
    }
    assert not [name for name in modules if "__" in name]  # such as programs, which run when imported
