"""DAG files of another commit than the installed package's are refused.

The tests use a real repository and Airflow's own Git bundle.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from catalog.dags.common import commits

pytestmark = pytest.mark.airflow
FILE = "catalog/dags/airflow_log_cleanup.py"
OTHER = "0123456789" * 4


def git(folder, *arguments):
    settings = {
        "user.name": "A",
        "user.email": "a@example.org",
        "init.defaultBranch": "main",
        "commit.gpgsign": "false",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    done = subprocess.run(
        ["git", "-C", str(folder), *options, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / FILE).parent.mkdir(parents=True)
    shutil.copy(commits.PACKAGE.parent / FILE, folder / FILE)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("CATALOG_COMMIT", raising=False)
    commits.refuse_other_commit.cache_clear()
    yield
    commits.refuse_other_commit.cache_clear()


def errors(folder):
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(folder), bundle_path=Path(folder), bundle_name="repository")
    assert set(bag.dags) == (set() if bag.import_errors else {"airflow_log_cleanup"})
    return "".join(bag.import_errors.values())


@pytest.fixture
def bundle(repository, tmp_path, monkeypatch):
    """Return a function that initializes Airflow's Git bundle and returns the folder of its DAG files.

    The bundle is of the commit given, or else of the latest.
    """
    from airflow.providers.git.bundles.git import GitDagBundle

    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))

    def make(commit=None):
        made = GitDagBundle(
            name="repository",
            tracking_ref="main",
            subdir="catalog/dags",
            repo_url=str(repository),
            version=commit,
        )
        made.initialize()
        return made.path

    return make


@pytest.mark.parametrize("pinned", [False, True])
def test_a_git_bundle_must_be_of_the_installed_commit(bundle, repository, monkeypatch, pinned):
    commit = git(repository, "rev-parse", "HEAD")
    folder = bundle(commit if pinned else None)
    # Airflow stores a pinned bundle without its Git folder.
    assert (folder.parent.parent / ".git").exists() is not pinned
    monkeypatch.setenv("CATALOG_COMMIT", OTHER)
    assert f"is of commit {commit}, the installed package of {OTHER}" in errors(folder)
    commits.refuse_other_commit.cache_clear()
    monkeypatch.setenv("CATALOG_COMMIT", commit[:12])
    assert errors(folder) == ""


def test_a_bundle_that_moves_on_is_refused(bundle, repository, monkeypatch):
    first = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("CATALOG_COMMIT", first)
    assert errors(bundle()) == ""
    git(repository, "commit", "-q", "--allow-empty", "-m", "second")
    commits.refuse_other_commit.cache_clear()  # each file is parsed in a process of its own
    assert f"is of commit {git(repository, 'rev-parse', 'HEAD')}, the installed package of {first}" in errors(
        bundle()
    )


def test_a_package_that_does_not_know_its_commit(repository, monkeypatch):
    monkeypatch.setattr(commits, "installed_commit", lambda: None)
    assert "or set CATALOG_COMMIT" in errors((repository / FILE).parent)


def test_files_that_are_not_ours_or_not_in_a_checkout(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("CATALOG_COMMIT", OTHER)
    shutil.copytree((repository / FILE).parent, tmp_path / "copied" / "catalog" / "dags")
    assert errors(tmp_path / "copied") == ""
    # Another project's repository may use the package.
    (repository / "graphs").mkdir()
    shutil.copy(repository / FILE, repository / "graphs")
    assert errors(repository / "graphs") == ""


def test_pip_knows_the_commit(monkeypatch):
    """It is in the file that pip writes for a package that it installed from Git (PEP 610)."""

    class Installed:
        @staticmethod
        def read_text(name):
            assert name == "direct_url.json"
            return json.dumps(
                {"url": "https://example.org/c.git", "vcs_info": {"vcs": "git", "commit_id": OTHER}}
            )

    monkeypatch.setattr(commits, "distribution", lambda name: Installed)
    assert commits.installed_commit() == OTHER


def test_the_working_tree_passes():
    assert commits.installed_commit() is None  # an editable install: its DAG files are the package's own
    commits.refuse_other_commit(str(commits.PACKAGE / "dags" / "batched_update.py"))
