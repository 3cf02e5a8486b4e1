"""The list of guards is up to date: each piece of source and each test exists."""

import ast
import re
from collections import Counter
from functools import cache

import pytest

from catalog.core.errors import Refused
from catalog.mutants import trial
from catalog.mutants.__main__ import main
from catalog.mutants.guard import ROOT, Guard
from catalog.mutants.guards import GUARDS

TESTS = ROOT / "catalog/tests"


@cache
def names_in(file):
    """Return the tests of a file, those in classes as `Class::test`."""
    names = set()
    for node in ast.parse((TESTS / file).read_text()).body:
        methods = node.body if isinstance(node, ast.ClassDef) else []
        names |= {f"{node.name}::{m.name}" for m in methods if isinstance(m, ast.FunctionDef)}
        names |= {node.name} if isinstance(node, ast.FunctionDef) else set()
    return names


def exists(test):
    file, _, name = test.partition("::")
    return (TESTS / file).is_file() and (not name or name.partition("[")[0] in names_in(file))


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_can_be_removed_and_its_tests_exist(guard):
    guard.mutated((ROOT / guard.file).read_text(encoding="utf-8"))
    assert guard.tests
    assert [test for test in guard.tests if not exists(test)] == []


def test_names_are_unique():
    assert [name for name, number in Counter(guard.name for guard in GUARDS).items() if number > 1] == []


def table():
    """Return the cells of the rows of docs/reliability.md, by number."""
    lines = (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if re.match(r"\| \d+ \|", line)]
    return {int(number): cells for number, *cells in rows}


def test_the_table_of_faults_is_whole():
    assert list(table()) == list(range(1, 61))
    assert [number for number, cells in table().items() if len(cells) != 4] == []


@pytest.mark.parametrize("row", range(1, 61))
def test_what_holds_a_row_exists_and_is_checked_by_a_guard(row):
    _, _, held, _ = table()[row]
    tests = re.findall(r"`([^` ]+\.py[^` ]*)`", held)
    assert [test for test in tests if not exists(test)] == []
    assert "`./just " in held or tests
    assert row in {guard.row for guard in GUARDS}


GOOD = Guard(
    name="good",
    holds="",
    row=40,
    file="catalog/mutants/guard.py",
    find="found := source.count(self.find)",
    replace="found := 1",
    tests=("test_mutants.py::test_names_are_unique",),
)


@pytest.mark.parametrize(
    ("source", "replace", "problem"),
    [
        ("x = 1\n", "y", "occurs 0 times"),
        ("guard()\nguard()\n", "y", "occurs 2 times"),
        ("guard()\n", "guard", "changes nothing"),
        ("guard()\n", "(", "not valid Python"),
    ],
)
def test_an_outdated_entry_is_refused(source, replace, problem):
    guard = Guard(name="g", holds="", row=40, file="a.py", find="guard", replace=replace, tests=())
    with pytest.raises(ValueError, match=problem):
        guard.mutated(source)


@pytest.fixture
def tiny(tmp_path):
    """Make a tree with two tests, one of which checks `guarded`; return a function that judges a removal."""
    (tmp_path / "catalog/tests").mkdir(parents=True)
    (tmp_path / "guarded.py").write_text("def guarded(n):\n    return max(n, 0)\n")
    (tmp_path / "catalog/tests/test_it.py").write_text(
        "from guarded import guarded\n\n\n"
        "def test_held():\n    assert guarded(-1) == 0\n\n\n"
        "def test_lax():\n    assert guarded(1) == 1\n"
    )

    def judged(replace, test, seconds=60):
        return trial.judge(
            Guard(
                name="g",
                holds="",
                row=40,
                file="guarded.py",
                find="max(n, 0)",
                replace=replace,
                tests=(f"test_it.py::{test}",),
                seconds=seconds,
            ),
            tmp_path,
        )

    return judged


def test_a_removal_is_noticed_or_not(tiny):
    assert tiny("n", "test_held").message == "noticed by test_it.py::test_held"
    assert tiny("n", "test_held").noticed
    assert tiny("n", "test_lax").message == "NOT NOTICED by test_it.py::test_lax"
    assert not tiny("n", "test_lax").noticed


def test_tests_that_cannot_run_notice_nothing(tiny):
    verdict = tiny("n", "test_that_is_not_there")
    assert not verdict.noticed
    assert verdict.message.startswith("CANNOT BE TRIED: pytest ended with status 4")
    unchanged = tiny("max(n, 0)", "test_held")
    assert unchanged.message.startswith("CANNOT BE TRIED: g: the replacement changes nothing")


def test_a_hang_is_noticed(tiny, monkeypatch):
    """It is ended by the time limit of the test, or by that of the run."""
    endless = "__import__('time').sleep(600)"  # which takes no processor from other tests
    assert tiny(endless, "test_held", 1).message == "noticed by test_it.py::test_held (it hung)"
    monkeypatch.setattr(trial, "_EXTRA_SECONDS", 8)
    verdict = tiny(endless, "test_held", 0)  # a single test has no limit
    assert verdict.noticed
    assert verdict.message == "noticed by a hang of test_it.py::test_held"


def test_an_unknown_name_is_refused_with_similar_ones():
    with pytest.raises(Refused, match=f"there is no guard .*similar names: .*{GUARDS[0].name}"):
        main([f"{GUARDS[0].name}s"])


def test_the_working_tree_is_copied_and_left_alone():
    path = ROOT / "catalog/mutants/guard.py"
    before = path.read_text()
    with trial.snapshot() as tree, trial.tree_without(GOOD, tree) as folder:
        assert "found := 1" in (folder / "catalog/mutants/guard.py").read_text()
        assert not (folder / ".git").exists()
        assert (folder / "pyproject.toml").is_file()
    assert path.read_text() == before
    assert not folder.exists()
    assert not tree.exists()
