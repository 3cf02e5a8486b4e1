"""The tag policy, compared with a literal implementation of its rules."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.core.errors import Fatal
from catalog.data_refresh.search.tag_policy import DEFAULT, RULES, TagFilter, TagPolicy, policy_from

NAMES = st.one_of(
    st.sampled_from([*DEFAULT.denied, *DEFAULT.denied_substrings]),
    st.sampled_from(["By", "NO PERSON", "baby", "Ruby", "cat", " ", "", "CC0 1.0", "a:b", "by-sas"]),
    st.text(max_size=12),
)
ACCURACIES = st.one_of(
    st.none(),
    st.floats(),
    st.sampled_from([0.9, 0.8999999, 1, 0, True, "0.95", "0.1", "x", "", [1]]),
    st.integers(-2, 2),
)
TAGS = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=5),
    st.lists(st.text(max_size=3), max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.one_of(NAMES, st.none(), st.integers()),
            "accuracy": ACCURACIES,
            "more": st.integers(),
            "provider": st.sampled_from(["clarifai", "rekognition", "flickr", None]),
        },
    ),
)
POLICIES = st.builds(
    TagPolicy,
    denied=st.lists(NAMES, max_size=4).map(tuple),
    denied_substrings=st.lists(st.text(min_size=1, max_size=3), max_size=4).map(tuple),
    minimum_accuracy=st.floats(0, 1),
    excluded_providers=st.lists(st.sampled_from(["clarifai", "rekognition"]), max_size=2).map(tuple),
)


def stays(policy, tag):
    """Apply the rules literally."""
    if type(tag) is not dict or type(tag.get("name")) is not str or not tag["name"].lower().strip():
        return False
    if tag.get("provider") in policy.excluded_providers:
        return False
    if tag.get("accuracy") is not None:
        try:
            accuracy = math.nan if type(tag["accuracy"]) is bool else float(tag["accuracy"])
        except (TypeError, ValueError):
            return False
        if not accuracy <= 3.4e38 or accuracy < policy.minimum_accuracy:  # what a 32-bit number holds
            return False
    name = tag["name"].lower().strip()
    return name not in [d.lower() for d in policy.denied] and not any(
        part.lower() in name for part in policy.denied_substrings
    )


def text_of(tag):
    """Return the text of a dropped tag in which sensitive terms are searched."""
    if isinstance(tag, dict) and isinstance(tag.get("name"), str):
        return tag["name"]
    if isinstance(tag, (dict, list)):
        return json.dumps(tag, ensure_ascii=False)
    return tag if isinstance(tag, str) else ""


@given(st.lists(TAGS, max_size=8), st.one_of(st.just(DEFAULT), POLICIES))
def test_against_the_plain_rules(tags, policy):
    tag_filter = TagFilter(policy)
    for _ in range(2):  # the second time from its memory
        kept, dropped = tag_filter(tags)
        wanted = [t for t in tags if stays(policy, t)]
        assert [t["name"] for t in kept] == [t["name"] for t in wanted]
        assert [t.get("accuracy") for t in kept] == [
            None if t.get("accuracy") is None else float(t["accuracy"]) for t in wanted
        ]
        assert all(set(t) <= {"name", "accuracy"} for t in kept)
        assert dropped == [text for t in tags if not stays(policy, t) and (text := text_of(t))]
    assert tag_filter.counts["kept"] == 2 * len(wanted)
    assert sum(tag_filter.counts[rule] for rule in RULES) == 2 * (len(tags) - len(wanted))


@pytest.mark.parametrize(
    ("tag", "rule"),
    [
        ({"name": "by"}, "denied"),
        ({"name": "BY"}, "denied"),
        ({"name": "baby"}, None),
        ({"name": "ruby"}, None),
        ({"name": "by-sa 4.0"}, "denied substring"),
        ({"name": "geo:lat=1"}, "denied substring"),
        ({"name": "No Person"}, "denied"),
        ({"name": "cat", "accuracy": 0.9}, None),
        ({"name": "cat", "accuracy": 0.8999}, "accuracy"),
        ({"name": "cat"}, None),
        ({"name": "cat", "accuracy": "0.95"}, None),
        ({"name": "cat", "accuracy": "sure"}, "malformed"),
        ({"accuracy": 1}, "malformed"),
        ({"name": None}, "malformed"),
        ("cat", "malformed"),
        (None, "malformed"),
        ({"name": "cat", "provider": "rekognition"}, None),
        ({"name": "uploaded by me"}, "denied substring"),
        ({"name": "PDM"}, "denied substring"),
    ],
)
def test_default(tag, rule):
    assert TagFilter(DEFAULT).rule(tag) == rule


def test_an_excluded_provider():
    policy = policy_from({"excluded_providers": ["rekognition"]})
    assert policy.denied == DEFAULT.denied
    assert (
        TagFilter(policy).rule({"name": "cat", "provider": "rekognition", "accuracy": 1.0})
        == "excluded provider"
    )
    assert policy.digest != DEFAULT.digest == TagPolicy(denied=tuple(reversed(DEFAULT.denied))).digest


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"minimum_accuracy": 90}, "minimum_accuracy"),
        ({"minimum_accuracy": "0.9"}, "minimum_accuracy"),
        ({"denied": "by"}, "denied"),
        ({"denyed": []}, "denyed"),
        ([], "object"),
        ({"denied_substrings": [""]}, "denied_substrings"),
    ],
)
def test_an_invalid_policy_is_refused(value, part):
    if value == []:
        assert policy_from(value) == DEFAULT
        return
    with pytest.raises(Fatal, match=part):
        policy_from(value)


def test_tags_that_are_not_a_list():
    tag_filter = TagFilter(DEFAULT)
    assert tag_filter(None) == ([], [])
    assert tag_filter({"name": "cat"}) == ([], ['{"name": "cat"}'])
    assert dict(tag_filter.counts) == {"malformed": 1}
