"""Checks of a conf before a run is triggered."""

import pytest

from catalog.core.errors import Refused
from catalog.local.runs import check_conf


@pytest.mark.parametrize(
    ("conf", "known", "problem"),
    [
        ({"limt": 5}, ["limit", "date"], r"unknown key 'limt'; did you mean 'limit'\? x knows date, limit\."),
        ({"moon": 5}, ["limit"], r"unknown key 'moon'; x knows limit\."),
        ({"moon": 5}, [], r"unknown key 'moon'; x takes none\."),
        ([5], ["limit"], r"should be a JSON object, such as \{\}"),
        (None, ["limit"], "should be a JSON object"),
    ],
)
def test_a_wrong_conf_is_refused(conf, known, problem):
    with pytest.raises(Refused, match=problem):
        check_conf("x", conf, known)


def test_a_good_conf_is_accepted():
    check_conf("x", {"limit": 5}, ["limit", "date"])
    check_conf("x", {}, [])
