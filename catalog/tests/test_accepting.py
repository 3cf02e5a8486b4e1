"""Messages name the conf of a run that does what the refused run has done, and accepts."""

import json
import re
from pathlib import Path

from catalog.core import accepting as module
from catalog.core.accepting import accepting

ROOT = Path(module.__file__).parents[1]
ALONE = re.compile(r'\{\{?"accept_\w+": ?(?:true|\[)')


def test_it_is_that_of_the_refused_run_without_secrets():
    conf = json.loads(accepting({"provider": "clarifai", "api_key": "k3y-0123456789abcdef"}, "accept_older"))
    assert conf == {"provider": "clarifai", "api_key": "***", "accept_older": True}
    assert accepting(None, "accept_lost", ["flickr"]) == '{"accept_lost": ["flickr"]}'


def test_no_message_names_the_accepting_key_alone():
    """Another run might copy tables, or be of another provider, and accept what nobody has seen of that."""
    sources = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    alone = [f"{path}" for path, source in sources.items() if ALONE.search(source)]
    assert [path for path in alone if not path.startswith(("tests/", "mutants/"))] == []
