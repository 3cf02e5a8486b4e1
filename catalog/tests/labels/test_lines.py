"""Lines of an image service: which tags are made of them, and what is left out."""

import io
import json
import uuid
from contextlib import nullcontext

import pytest
from upath import UPath

from catalog.core.errors import Refused
from catalog.data_refresh.search.tag_policy import TagFilter, TagPolicy
from catalog.labels import file as label_file
from catalog.labels.lines import (
    ALL_LOW,
    BAD_CONFIDENCE,
    BAD_LABEL,
    BAD_NAME,
    CORRECTIONS,
    LONG_NAME,
    MAX_LINE,
    NO_LABELS,
    NO_UUID,
    NONE_FOUND,
    NOT_JSON,
    SMALL,
    TOO_LONG,
    TOO_MANY,
    UNPRINTABLE,
    BadLine,
    blocks,
    labels_of,
)

KEY = uuid.UUID("b840de61-fb9d-4ec5-9572-8d778875869f")


def line(*labels, key=KEY):
    """Return a line with labels, given as pairs of name and confidence."""
    found = [{"Name": name, "Confidence": confidence, "Instances": []} for name, confidence in labels]
    return json.dumps({"image_uuid": str(key), "response": {"Labels": found}}).encode()


def tags(text, least=0.0):
    return labels_of(text, "rekognition", least).tags


def test_a_label_becomes_a_tag():
    assert labels_of(line(("Dog", 97.3), ("Pet", 90)), "rekognition", 0).image == KEY
    assert tags(line(("Dog", 97.3), ("Pet", 90))) == [
        {"name": "Dog", "accuracy": 0.973, "provider": "rekognition"},
        {"name": "Pet", "accuracy": 0.9, "provider": "rekognition"},
    ]


@pytest.mark.parametrize(("given", "name"), CORRECTIONS.items())
def test_names_are_corrected(given, name):
    assert [tag["name"] for tag in tags(line((given, 99)))] == [name]


def test_of_one_name_the_most_accurate_label_counts():
    found = tags(line(("Dj", 70), ("Cat", 60), ("DJ", 95), ("Dj", 80)))
    assert [(tag["name"], tag["accuracy"]) for tag in found] == [("DJ", 0.95), ("Cat", 0.6)]


def test_labels_below_the_least_confidence_are_left_out():
    found = labels_of(line(("Dog", 79.9), ("Pet", 80)), "rekognition", 80)
    assert [tag["name"] for tag in found.tags] == ["Pet"]
    assert found.low == 1


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("Dog", BAD_LABEL),
        ({"Confidence": 99}, BAD_NAME),
        ({"Name": 7, "Confidence": 99}, BAD_NAME),
        ({"Name": " ", "Confidence": 99}, BAD_NAME),
        ({"Name": "<b></b>", "Confidence": 99}, BAD_NAME),
        ({"Name": "a\tb", "Confidence": 99}, UNPRINTABLE),
        ({"Name": "a\0b", "Confidence": 99}, UNPRINTABLE),
        ({"Name": "a\ud800b", "Confidence": 99}, UNPRINTABLE),
        ({"Name": "x" * 201, "Confidence": 99}, LONG_NAME),
        ({"Name": "Cat"}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": "99"}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": True}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": float("nan")}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": float("inf")}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": -0.1}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": 100.1}, BAD_CONFIDENCE),
        ({"Name": "Cat", "Confidence": 10**400}, BAD_CONFIDENCE),
    ],
)
def test_a_line_with_a_bad_label_cannot_be_used(label, reason):
    """Its other labels would replace all those that the image has."""
    good = {"Name": "Dog", "Confidence": 97.3}
    document = {"image_uuid": str(KEY), "response": {"Labels": [good, label]}}
    with pytest.raises(BadLine, match=reason):
        labels_of(json.dumps(document).encode(), "rekognition", 0)


def test_what_is_not_read_of_a_line_does_not_matter():
    text = line(("Dog", 97.3)).replace(b'"Instances": []', b'"Instances": NaN, "Text": "\\ud800"')
    assert [tag["name"] for tag in tags(text)] == ["Dog"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", NOT_JSON),
        (b"\xff\xfe", NOT_JSON),
        (b"[1]", NOT_JSON),
        (b"[" * 100_000, NOT_JSON),
        (b'{"response": {"Labels": [{"Name": "Dog", "Confidence": 97.3}]}}', NO_UUID),
        (b'{"image_uuid": 7}', NO_UUID),
        (b'{"image_uuid": "7"}', NO_UUID),
        (f'{{"image_uuid": "{KEY}"}}'.encode(), NO_LABELS),
        (f'{{"image_uuid": "{KEY}", "response": []}}'.encode(), NO_LABELS),
        (f'{{"image_uuid": "{KEY}", "response": {{"Labels": "Dog"}}}}'.encode(), NO_LABELS),
        (line(), NONE_FOUND),
        (line(*[(f"{n}", 99) for n in range(2001)]), TOO_MANY),
        (line(("", 99), ("Dog", 101)), BAD_NAME),
        (line(("Dog", 0.97), ("Cat", 1)), SMALL),
        (line(("Dog", 49)), ALL_LOW),
        (b" " * MAX_LINE + line(("Dog", 99)), TOO_LONG),
    ],
)
def test_a_bad_line_has_a_reason(text, reason):
    with pytest.raises(BadLine) as caught:
        labels_of(text, "rekognition", 50)
    assert str(caught.value) == reason


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", [b"a\nbb\n\nccc", b"a\nbb\n", b"\n", b"a", b""])
def test_blocks_hold_each_line_once_from_any_offset_that_they_name(text, size):
    lines = text.split(b"\n")
    expected = lines if lines[-1] else lines[:-1]
    found = list(blocks(io.BytesIO(text), 0, size))
    assert [one for block, _ in found for one in block] == expected
    assert [end for _, end in found][-1:] == ([len(text)] if text else [])
    for number, (_, end) in enumerate(found, 1):
        rest = [one for block, _ in blocks(io.BytesIO(text), end, size) for one in block]
        assert rest == [one for block, _ in found[number:] for one in block]


def test_of_a_line_that_is_too_long_only_the_beginning_is_kept():
    text = b"x" * (3 * MAX_LINE) + b"\nend\n"
    [(first, _), *others] = blocks(io.BytesIO(text), 0, 4096)
    assert len(first[0]) <= MAX_LINE + 1 + 4096
    assert (first[1:] + [one for block, _ in others for one in block])[-1] == b"end"


GOOD = f'{{"image_uuid": "{KEY}", "response": {{"Labels": [{{"Name": "Dog", "Confidence": 97.3}}]}}}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no"),
        (b"", "is empty"),
        (b"\x1f\x8b\x08\x00", "is compressed; upload the JSON lines"),
        (b"\n\n", "begins with blank lines only"),
        (2 * (GOOD + "\n").encode("utf-16"), r"no JSON object\)"),
        (b"id,label\n7,Dog\n", r"no JSON object\); the first is 'id,label'"),
        (b'{"image_uuid": "7"}\n', r"no image_uuid\)"),
    ],
)
def test_a_file_that_cannot_be_one_of_labels_is_refused(tmp_path, content, message):
    path = tmp_path / "labels.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refused, match=message):
        label_file.check_file(UPath(path))


def test_lines_in_which_the_service_found_nothing_are_lines_of_labels(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(30 * (line() + b"\n") + line(("Dog", 97.3)))
    assert label_file.check_file(UPath(path)).size == path.stat().st_size


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(Refused, match="is a folder; name one file"):
        label_file.check_file(UPath(tmp_path))


def test_a_bad_first_line_does_not_matter(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"{\n" + line(("Dog", 99)))
    assert label_file.check_file(UPath(path)).size == path.stat().st_size


@pytest.mark.parametrize(
    ("confidences", "refused"), [((0.97, 1), True), ((0.97, 1.01), False), ((1, 0), True)]
)
def test_confidences_from_0_to_1_are_refused(tmp_path, confidences, refused):
    """Other services give such ones; as percentages they would replace good labels by useless ones."""
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"{\n" + b"\n".join(line(("Dog", c)) for c in confidences))
    with pytest.raises(Refused, match="multiply them by 100") if refused else nullcontext():
        label_file.check_file(UPath(path))


def test_the_tag_policy_judges_labels_by_their_accuracy():
    """The default policy searches labels from 90 % on, and another one none of this provider."""
    merged = [{"name": "mine"}, *tags(line(("Dog", 90), ("Wolf", 89.9), ("Pet", 99), ("No Person", 99)))]
    kept, dropped = TagFilter(TagPolicy())(merged)
    assert [tag["name"] for tag in kept] == ["mine", "Dog", "Pet"]
    assert dropped == ["Wolf", "No Person"]
    kept, _ = TagFilter(TagPolicy(excluded_providers=("rekognition",)))(merged)
    assert [tag["name"] for tag in kept] == ["mine"]
