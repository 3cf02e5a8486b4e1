"""Rules of the house that a linter does not know."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT_AIRFLOW = ("dags", "dag_docs", "local", "plugins", "tests")
FILES = sorted(p for p in ROOT.rglob("*.py") if "migrations" not in p.parts)


def imports(path):
    return re.findall(r"^\s*(?:from|import)\s+([\w.]+)", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(ROOT).parts[0] not in MAY_IMPORT_AIRFLOW], ids=str
)
def test_library_code_imports_no_airflow_and_reads_no_environment(path):
    assert not [m for m in imports(path) if m.split(".")[0] == "airflow"]
    if not path.name.endswith(("cli.py", "command_line.py")) and not {"benchmarks", "mutants", "soak"} & {
        *path.parts
    }:
        assert "os.environ" not in path.read_text()


@pytest.mark.parametrize("path", [p for p in FILES if p.relative_to(ROOT).parts[0] == "dags"], ids=str)
def test_dags_use_the_task_sdk_only(path):
    """`dag.test()` allows the metadata database, a worker does not: such a bug would pass tests and fail in production."""
    assert not [m for m in imports(path) if re.match(r"airflow\.(models|settings|utils\.(session|db))\b", m)]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_start_at_the_package(path):
    short = {p.stem for p in ROOT.iterdir()} - {"__init__"}
    assert not [m for m in imports(path) if m.split(".")[0] in short]


@pytest.mark.parametrize("path", [p for p in FILES if p.relative_to(ROOT).parts[0] == "dags"], ids=str)
def test_no_dates_that_manual_runs_lack(path):
    assert not re.search(r"\bts_nodash\b|\{\{\s*ds\b|context\[.ds.\]", path.read_text())
