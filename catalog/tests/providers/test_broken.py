"""A provider that cannot be imported costs its own DAG, and is named with file and line."""

import os
import subprocess
import sys

import pytest

from catalog.mutants.trial import copy_tree

DAGS = """
from airflow.dag_processing.dagbag import DagBag
names = "provider_workflows provider_reingestion delete_records oauth2 broken_providers".split()
for name in names:
    bag = DagBag(f"catalog/dags/{name}.py", collect_dags=True)
    for error in bag.import_errors.values():
        print("ERROR", name, error.strip().splitlines()[-1])
    for dag in bag.dags:
        print("DAG", dag)
"""
FINDINGS = """
from pathlib import Path
from catalog.local.doctor import examine
from catalog.local.stack import Stack
for check in examine(Stack()):
    print(check.name, check.grade, check.message)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the tree with an error of syntax in one provider, and a wrong value in another."""
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder)
    providers = folder / "catalog" / "providers"
    with (providers / "nappy" / "provider.py").open("a") as file:
        file.write("def (:\n")
    smk = providers / "smk" / "provider.py"
    smk.write_text(smk.read_text().replace("    name = ", '    category = "photo"\n    name = '))
    return folder


@pytest.fixture
def run(tree, tmp_path):
    def run(*command):
        return subprocess.run(
            [sys.executable, *command],
            cwd=tree,
            env={
                **os.environ,
                "PYTHONPATH": str(tree),
                "COLUMNS": "500",
                "AIRFLOW_HOME": str(tmp_path),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/none.db",
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            },
            capture_output=True,
            text=True,
        )

    return run


SYNTAX = (
    "the provider nappy cannot be imported: SyntaxError: invalid syntax (catalog/providers/nappy/provider.py"
)
VALUE = "the provider smk cannot be imported: TypeError: Smk.category is 'photo'; there are photograph, "
PLACE = "(catalog/providers/smk/provider.py, line "


def test_the_other_dags_stay(run):
    found = run("-c", DAGS)
    lines = found.stdout.splitlines()
    dags = {line.split()[1] for line in lines if line.startswith("DAG ")}
    assert {"stocksnap_workflow", "flickr_workflow", "flickr_reingestion_workflow"} <= dags, found.stderr
    assert not {"nappy_workflow", "smk_workflow"} & dags
    [error] = [line for line in lines if line.startswith("ERROR ")]
    assert error.startswith("ERROR broken_providers ImportError: ")
    assert SYNTAX in error
    assert VALUE in error
    assert PLACE in error


def test_the_list_of_providers_goes_on_and_names_them(run):
    found = run("-m", "catalog.cli", "providers")
    assert found.returncode == 1
    assert "wordpress" in found.stdout
    assert "nappy" not in found.stdout
    last = found.stderr.splitlines()[-1]
    assert SYNTAX in last
    assert VALUE in last
    assert "Traceback" not in found.stderr


def test_the_doctor_names_them(run):
    lines = run("-c", FINDINGS).stdout.splitlines()
    assert any(line.startswith(f"provider nappy wrong {SYNTAX}") for line in lines)
    assert any("key API_KEY_FLICKR note" in line for line in lines)


def test_a_command_that_needs_one_says_why_it_has_none(run):
    found = run("-m", "catalog.cli", "ingest", "nappy")
    assert (found.returncode, len(found.stderr.splitlines())) == (1, 1)
    assert SYNTAX in found.stderr
