"""Messages name the conf of a run that does what the refused run has done, and accepts."""

import json

from catalog.core.accepting import accepting


def test_it_is_that_of_the_refused_run_without_secrets():
    conf = json.loads(accepting({"provider": "clarifai", "api_key": "k3y-0123456789abcdef"}, "accept_older"))
    assert conf == {"provider": "clarifai", "api_key": "***", "accept_older": True}
    assert accepting(None, "accept_lost", ["flickr"]) == '{"accept_lost": ["flickr"]}'
