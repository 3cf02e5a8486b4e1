"""The numbers of the README are those of the code."""

import json
import re
from pathlib import Path

import pytest

from catalog.dag_docs.__main__ import readme
from catalog.ingestion.registry import FOLDER, provider_class, provider_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_dag_docs_writes_the_numbers_of_providers_their_lines_and_dags():
    lines = [len((FOLDER / name / "provider.py").read_text().splitlines()) for name in provider_names()]
    stale = re.sub(r"\d+( to \d+)?(?= (lines|DAGs\*\*|providers\*\*)|\s+provider APIs)", "7 to 8", README)
    stale = re.sub(r"7 to 8(?! lines)", "7", stale)
    assert stale.count("7 to 8 lines") == 1
    written = readme(stale, "### `a`\n\n### `b`\n")
    assert f"metadata from {len(lines)}" in written
    assert (
        f"**{len(lines)} providers** as small declarations of {min(lines)} to {max(lines)} lines" in written
    )
    assert "**2 DAGs**" in written
    assert re.sub(r"\d", "", written) == re.sub(r"\d", "", README)


def test_dag_docs_misses_a_number_that_is_gone():
    with pytest.raises(ValueError, match=r"nothing is .*provider APIs"):
        readme("64 DAGs", "")


def test_a_command_that_pulls_needs_no_key():
    """A newcomer who tries the commands in their order has none yet."""
    commands = re.findall(r"\./just trigger (\w+)_workflow '([^']*)'", README)
    assert commands
    for name, conf in commands:
        assert provider_class(name).key is None or json.loads(conf).get("replay"), name
    for name in re.findall(r"\./just catalog ingest (\w+)", README):
        assert provider_class(name).key is None, name
