"""docs/tour.md: what needs no stack is followed literally, in a copy of the tree.

`e2e/test_workflows.py` runs the blocks of the kind `stack`, on a stack without the tour's own provider. Those
of the kind `own` need both, so only their arguments are checked.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from catalog.ingestion.registry import FOLDER
from catalog.local.demo import next_steps
from catalog.local.stack import ROOT
from catalog.mutants.trial import copy_tree
from catalog.scaffold.new import NewProvider
from catalog.tests.pages import blocks

PAGE = ROOT / "docs" / "tour.md"
JUST = Path(sys.executable).parent / "just"
# In place of the script that installs what the recipes need.
SCRIPT = f'#!/bin/sh\nexec {shlex.quote(str(JUST))} "$@"\n'


def commands(*kinds):
    """Return the words of each `./just` command in blocks of these kinds."""
    lines = [line for _, kind, text in blocks(PAGE) if kind in kinds for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("./just ")]


def test_every_block_is_run_or_checked():
    assert {(language, kind) for language, kind, _ in blocks(PAGE)} == {
        ("sh", k) for k in ("", "stack", "own")
    }
    assert len(commands("", "stack", "own")) > 10


@pytest.mark.parametrize("words", commands("", "stack", "own"), ids=" ".join)
def test_every_command_is_a_recipe_with_its_arguments(words):
    subprocess.run([JUST, "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)


def test_the_addresses_are_those_that_the_demo_prints():
    text = PAGE.read_text(encoding="utf-8")
    addresses = re.findall(r"<http://127\.0\.0\.1:9090([^>]*)>", text)
    assert next_steps("")[0].address in addresses
    patterns = r"/catalog/|/catalog/explore\?\S+|/catalog/providers/\w+|/dags/\w+_workflow"
    assert [address for address in addresses if not re.fullmatch(patterns, address)] == []
    assert len(addresses) > 4


def test_the_own_provider_is_the_one_that_is_added():
    [[_, _, title, url, *_]] = [words for words in commands("") if words[1] == "add-provider"]
    name = NewProvider(title, url, ("image",)).name
    triggered = {words[2]: json.loads(words[3]) for words in commands("own") if words[3:]}
    assert triggered == {f"{name}_workflow": {"replay": str(FOLDER.relative_to(ROOT))}}
    assert f"/catalog/providers/{name}>" in PAGE.read_text(encoding="utf-8")
    assert f"source={name.replace('_', '')}>" in PAGE.read_text(encoding="utf-8")


@pytest.mark.airflow
@pytest.mark.timeout(900)  # it generates the documentation, and runs tests
def test_the_page_is_followed(tmp_path, monkeypatch):
    copy_tree(tmp_path)
    (tmp_path / ".venv").symlink_to(JUST.parent.parent)
    (tmp_path / "just").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = "\n".join(text for _, kind, text in blocks(PAGE) if not kind)
    command = ["bash", "-euxc", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    said = " ".join(done.stderr.split())
    assert "museum_of_clouds: 2 of 3 image items written; left out: 1 no identifier" in said
    assert "rejected, mapping failed: KeyError: 'words' (provider.py:" in said
    assert re.search(r"^\d{2,} passed", done.stdout, re.MULTILINE)
    folder = tmp_path / "catalog" / "providers" / "museum_of_clouds"
    rows = [orjson.loads(line) for line in (folder / "expected.jsonl").read_bytes().splitlines()]
    assert [bool(row.get("tags")) for row in rows] == [True, False]
    assert "museum_of_clouds_workflow" in (tmp_path / "DAGs.md").read_text(encoding="utf-8")
