"""Messages name the conf of a run that does what the refused run has done, and accepts."""

import json
import re
from pathlib import Path

import pytest

from catalog.core import accepting as module
from catalog.core.accepting import accepting

ROOT = Path(module.__file__).parents[1]
ALONE = re.compile(r'\{\{?"accept_\w+": ?(?:true|\[)')


def test_it_is_that_of_the_refused_run():
    conf = json.loads(accepting({"provider": "clarifai", "file": "labels.jsonl"}, "accept_older"))
    assert conf == {"provider": "clarifai", "file": "labels.jsonl", "accept_older": True}
    assert accepting(None, "accept_lost", ["flickr"]) == '{"accept_lost": ["flickr"]}'


@pytest.mark.parametrize(
    "conf",
    [
        {"api_key": "k3y-0123456789abcdef"},
        {"select_query": "where url like '%?token=k3y-0123456789abcdef%'"},
        {"file": "file:///data/token=k3y-0123456789abcdef/labels.jsonl"},
    ],
)
def test_a_conf_with_something_secret_is_not_quoted(conf):
    """With the secret replaced, it would be no JSON, or select no record, which is then accepted."""
    said = accepting(conf, "accept_no_rows")
    assert said == '{"accept_no_rows": true} and all else that the conf of this run has'


def test_no_message_names_the_accepting_key_alone():
    """Another run might copy tables, or be of another provider, and accept what nobody has seen of that."""
    sources = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    alone = [f"{path}" for path, source in sources.items() if ALONE.search(source)]
    assert [path for path in alone if not path.startswith(("tests/", "mutants/"))] == []
