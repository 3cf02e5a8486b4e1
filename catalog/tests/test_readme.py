"""The numbers of the README are those of the code."""

import json
import re
from pathlib import Path

from catalog.ingestion.registry import FOLDER, provider_class, provider_names
from catalog.tests.values import present

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def numbers(pattern):
    """The numbers in the one place of the README that a pattern describes."""
    return tuple(map(int, present(re.search(pattern, README)).groups()))


def test_the_number_of_providers_and_of_their_lines():
    lines = [len((FOLDER / name / "provider.py").read_text().splitlines()) for name in provider_names()]
    declared = r"\*\*(\d+) providers\*\* as small declarations of (\d+) to (\d+) lines"
    assert numbers(declared) == (len(lines), min(lines), max(lines))
    assert numbers(r"metadata from (\d+)\s+provider APIs") == (len(lines),)


def test_the_number_of_dags():
    documented = re.findall(r"^### `", (ROOT / "DAGs.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert numbers(r"\*\*(\d+) DAGs\*\*") == (len(documented),)


def test_a_command_that_pulls_needs_no_key():
    """A newcomer who tries the commands in their order has none yet."""
    commands = re.findall(r"\./just trigger (\w+)_workflow '([^']*)'", README)
    assert commands
    for name, conf in commands:
        assert provider_class(name).key is None or json.loads(conf).get("replay"), name
    for name in re.findall(r"\./just catalog ingest (\w+)", README):
        assert provider_class(name).key is None, name
