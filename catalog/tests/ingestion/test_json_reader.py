"""JSON as APIs really send it: what is odd is repaired, what is not whole is refused."""

import contextlib
import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.ingestion.json_reader import MAX_DEPTH, read_json, read_leniently

REPAIRED = [
    # byte order marks, other encodings
    (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    (b'\xef\xbb\xbf\xef\xbb\xbf\n{"a": 1}', {"a": 1}),
    ('{"a": "\u00e9"}'.encode("utf-16"), {"a": "\u00e9"}),
    ('{"a": "\u00e9"}'.encode("utf-16-be"), {"a": "\u00e9"}),
    ('{"a": "\u00e9"}'.encode("utf-32"), {"a": "\u00e9"}),
    # bytes that are not UTF-8 cost a character, not the page
    (b'{"a": "caf\xe9", "b": 1}', {"a": "caf\udce9", "b": 1}),
    (b'["\xed\xa0\xbd"]', ["\udced\udca0\udcbd"]),
    # lone surrogates
    (rb'["\ud83d", "\ude00\ud83d", "\ud83d\ude00"]', ["\ud83d", "\ude00\ud83d", "\U0001f600"]),
    # raw control characters
    (b'{"a": "tab\there\nand \x00\x1f"}', {"a": "tab\there\nand \x00\x1f"}),
    # numbers
    (b"[NaN, Infinity, -Infinity, nan, -nan, inf, -inf]", [None] * 7),
    (b"[1e999, -1e999]", [None, None]),
    (b"[" + b"9" * 5000 + b", 1]", [None, 1]),
    (b"[" + b"9" * 30 + b",]", [1e30]),
    (b"[18446744073709551615, 18446744073709551616,]", [18446744073709551615, 1.8446744073709552e19]),
    (b"[-9223372036854775808, -9223372036854775809,]", [-9223372036854775808, -9.223372036854776e18]),
    (b"[007, -007, 00.50, 0, 0.5, 100, -0100, 00]", [7, -7, 0.5, 0, 0.5, 100, -100, 0]),
    # escapes
    (
        rb'["it\x27s", "it\'s", "\q\v\0", "\u12", "\ud83", "\x2"]',
        ["it's", "it's", "q\v\0", "u12", "ud83", "x2"],
    ),
    (rb'["\\\x41", "\\x41", "\"\x22"]', ["\\A", "\\x41", '""']),
    # trailing commas
    (b'{"a": [1, 2, ], "b": {"c": 3,},\n}', {"a": [1, 2], "b": {"c": 3}}),
    # nothing inside a string is taken for something else
    (b'["a: 007, [1,] NaN \\" 008,]", 01]', ['a: 007, [1,] NaN " 008,]', 1]),
    (b'{"NaN": "\\\\", "001": "[,", ",}": 1,}', {"NaN": "\\", "001": "[,", ",}": 1}),
]


@pytest.mark.parametrize(("body", "value"), REPAIRED)
def test_what_is_repaired(body, value):
    complaints: list[str] = []
    assert read_json(body, complaints.append) == value
    assert len(complaints) == 1
    assert complaints[0]


@pytest.mark.parametrize(
    ("charset", "text", "read"),
    [
        ("latin-1", "Café 1 €", "Café 1 €"),  # as Windows-1252, like in browsers
        ("ISO-8859-1", "Café", "Café"),
        ("windows-1252", "Café 1 €", "Café 1 €"),
        ("iso-8859-2", "Łódź", "Łódź"),
        ("koi8-r", "Москва", "Москва"),
        ("utf-8", "Café", None),
        ("shift_jis", "Café", None),
        ("no such charset", "Café", None),
        ("\0", "Café", None),
        (None, "Café", None),
    ],
)
def test_a_body_that_is_not_in_unicode_is_read_as_its_header_says(charset, text, read):
    encoding = charset if read and charset != "latin-1" else "cp1252"
    body = f'{{"a": "{text}"}}'.encode(encoding)
    assert read_json(body, charset=charset) == {"a": read or "Caf\udce9"}
    assert read_json('{"a": "Café",}'.encode(), charset=charset) == {"a": "Café"}


@pytest.mark.parametrize("charset", ["iso-8859-1", "cp1252", "iso-8859-2", "shift_jis", "utf-8", None])
def test_a_character_that_was_cut_does_not_change_how_the_others_are_read(charset):
    body = '{"a": ["Café 東京", "É"]}'.encode().replace("É".encode(), b"\xc3")
    assert read_json(body, charset=charset) == {"a": ["Café 東京", "\udcc3"]}


@pytest.mark.parametrize("charset", ["shift_jis", "gb2312", "GBK", "gb18030", "big5", "euc-jp", "euc-kr"])
def test_charsets_of_several_bytes(charset):
    body = '{"a": "大山 10"}'.encode(charset)
    assert read_json(body, charset=charset) == {"a": "大山 10"}


@pytest.mark.parametrize("charset", ["hex", "rot13", "utf-16", "utf-7", "punycode", "idna", "unicode_escape"])
def test_other_codecs_of_python_are_not_used(charset):
    assert read_json(b'{"a": "\xe9"}', charset=charset) == {"a": "\udce9"}


REFUSED = [
    b"",
    b" \n",
    b"\xef\xbb\xbf",
    b"<html><body>busy</body></html>",
    b'{"a": [1, 2',
    b'{"a": "cut',
    b'{"a": "cut \\',
    b'{"a": 1',
    b'["\x00',
    '{"a": 1}'.encode("utf-16")[:-1],
    b'{"a": 1} {"b": 2}',
    b'{"a": 1} trailing',
    b"[1]]",
    b'{"a": 1},',
    b"[,]",
    b"[ , ]",
    b"{,}",
    b"[1,,]",
    b"[1,,2]",
    b"[1 2]",
    b'{"a":,}',
    b'{"a",}',
    b"{'a': 1}",
    b"[undefined]",
    b"[+1]",
    b"[.5]",
    b"[5.]",
    b"[True]",
    b"[0x1F]",
    b"[12abc]",
    b"\x00\x01\x02\x03",
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_no_whole_value(body):
    with pytest.raises(ValueError, match=r"."):
        read_json(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":', b'[{"a": 01, "b": '])
def test_absurd_nesting(opening):
    """Refused whether or not the brackets are closed, and however deep the caller's stack is."""
    for depth in (MAX_DEPTH + 1, 100_000):
        closing = {b"[": b"]", b'{"a":': b"}"}.get(opening, b"}]")
        with pytest.raises(ValueError, match=r"."):
            read_json(opening * depth)
        with pytest.raises(ValueError, match=r"nested deeper than 512|depth limit"):
            read_json(b"[" + opening * depth + b"01" + closing * depth + b"]")

    def deep(levels):
        return deep(levels - 1) if levels else read_json(b"[" * 400 + b"01" + b"]" * 400)

    with contextlib.suppress(ValueError):  # where C code and Python share a stack
        deep(700)


def test_nesting_that_is_not_absurd():
    value = read_json(b"[" * 200 + b"01" + b"]" * 200)
    for _ in range(200):
        (value,) = value
    assert value == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        b'["' + b'\\"' * 2_000_000,
        b"[" + b" " * 4_000_000 + b"," * 1_000_000,
        b"-" * 4_000_000,
        b"[" * 4_000_000,
    ],
)
def test_no_body_takes_long(body):
    with pytest.raises(ValueError, match=r"."):
        read_json(body)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_valid_json_reads_as_the_strict_reader_reads_it(value, ascii_only, indent):
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    try:
        strict = orjson.loads(body)
    except ValueError:
        return
    assert same(read_json(body), strict)
    assert same(read_leniently(body), strict)
    assert not read_complaints(body)


def read_complaints(body):
    complaints: list[str] = []
    read_json(body, complaints.append)
    return complaints


def same(a, b):
    """Equal, and of the same types all through (1 is no 1.0, and no True)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and (not isinstance(a, float) or math.copysign(1, a) == math.copysign(1, b))


@given(values, st.data())
def test_any_mutilation_is_a_value_or_a_value_error(value, data):
    body = bytearray(
        json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(at, len(body)))
        piece = data.draw(
            st.binary(max_size=4)
            | st.sampled_from([b",", b'"', b"\\", b"0", b"NaN", b"[", b"}", b"\\u", b"-"])
        )
        body[at:end] = piece
    try:
        read_json(bytes(body))
    except ValueError:
        return


@given(st.binary())
def test_any_bytes_are_a_value_or_a_value_error(body):
    try:
        read_json(body)
    except ValueError:
        return


@given(st.lists(values, min_size=1), st.data())
def test_a_body_that_was_cut_is_refused(value, data):
    body = json.dumps(value).encode()
    with pytest.raises(ValueError, match=r"."):
        read_json(body[: data.draw(st.integers(0, len(body) - 1))])


@given(
    st.lists(
        st.sampled_from(
            [b"caf\xe9", b"\\x27", b"\\'", b"\t", b"\\ud83d", b"plain", b"\\\\", b'\\"', b", ]", b"007"]
        )
    )
)
def test_oddities_in_one_string_leave_the_others_alone(pieces):
    body = b'{"before": [1, "x, 007"], "odd": "' + b"".join(pieces) + b'", "after": {"y": -5, "z": "NaN,]"}}'
    found = read_json(body)
    assert found["before"] == [1, "x, 007"]
    assert found["after"] == {"y": -5, "z": "NaN,]"}
    assert isinstance(found["odd"], str)
