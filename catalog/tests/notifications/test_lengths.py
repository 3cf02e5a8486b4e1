"""Messages within Slack's limits: whatever they say, nothing is cut within a link or an escape."""

import re

from hypothesis import given
from hypothesis import strategies as st

from catalog.notifications.blocks import BLOCKS, FIELD, FIELDS, HEADER, SECTION, TOTAL, blocks
from catalog.notifications.lengths import divided, shortened
from catalog.notifications.message import Message, Origin, escaped, link
from catalog.tests.values import present

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=40)
atoms = st.one_of(
    words.map(escaped),
    st.just("&amp;"),
    st.builds(link, st.text("abc/&|<>", max_size=300).map("https://".__add__), words),
    st.integers(1, 4000).map("x".__mul__),
)
lines = st.lists(atoms, max_size=8).map("".join)
LINK = re.compile(r"<[^<>\n]*>")
ESCAPE = re.compile(r"&(?:amp|lt|gt);")


def is_complete(text):
    """Return whether links and escapes are complete."""
    rest = ESCAPE.sub("", LINK.sub("", text))
    return not set(rest) & set("<>&")


@given(lines, st.integers(60, 3000))
def test_a_shortened_text_says_how_much_is_left_out(text, limit):
    found = shortened(text, limit)
    assert len(found) <= limit
    assert is_complete(found)
    if len(text) <= limit:
        assert found == text
    else:
        match = re.fullmatch(r"(.*) … \(([0-9,]+) more characters\)", found, re.DOTALL)
        kept, number = present(match).groups()
        assert text.startswith(kept)
        assert len(kept) + int(number.replace(",", "")) == len(text)


@given(st.lists(lines, max_size=12), st.integers(60, 3000))
def test_divided_lines_lose_nothing_but_links_that_fit_nowhere(found, limit):
    texts = divided(found, limit)
    assert all(len(text) <= limit and is_complete(text) for text in texts)
    joined = "".join(texts).replace("\n", "")
    expected = "".join(found)
    if all(len(match[0]) <= limit for match in LINK.finditer(expected)):
        assert joined == expected
    else:
        assert "(a link of " in joined


messages = st.builds(
    Message,
    title=st.text(min_size=1, max_size=400).filter(str.strip),
    username=st.just("name"),
    dag_id=st.just("d"),
    summary=lines,
    fields=st.dictionaries(st.text("abc", min_size=1), lines, max_size=25),
    lines=st.lists(lines, max_size=60).map(tuple),
    origin=st.one_of(st.none(), st.builds(Origin, words, st.just("https://x/r"), st.just("https://x/l"))),
)


@given(messages)
def test_blocks_are_within_the_limits(message):
    """`blocks` raises if slack_sdk finds one invalid."""
    found = blocks(message)
    assert 1 <= len(found) <= BLOCKS
    [header, *sections] = found
    assert header["type"] == "header"
    assert len(header["text"]["text"]) <= HEADER
    texts = []
    for block in sections:
        parts = block.get("fields") or block.get("elements") or [block["text"]]
        assert len(parts) <= FIELDS
        for part in parts:
            assert 0 < len(part["text"]) <= (SECTION if "text" in block else FIELD)
            assert part["type"] == "mrkdwn"
            texts.append(part["text"])
    assert sum(map(len, texts)) + len(header["text"]["text"]) <= TOTAL
    assert all(is_complete(text) for text in texts)
    if message.origin:
        assert found[-1]["type"] == "context"
        assert "<https://x/l|View Logs>" in found[-1]["elements"][-1]["text"]


def test_what_does_not_fit_is_counted():
    found = blocks(Message("Many", "name", "d", lines=tuple(f"line {n} {'x' * 90}" for n in range(1000))))
    [note] = found[-1]["elements"]
    shown = sum(block["text"]["text"].count("line ") for block in found[1:-1])
    assert note["text"] == f"{1000 - shown:,} more lines are in the log."
    assert shown > 50


def test_a_text_of_exactly_the_limit_is_whole():
    assert shortened("x" * 60, 60) == "x" * 60
    assert divided(["x" * 30, "y" * 29], 60) == [f"{'x' * 30}\n{'y' * 29}"]
    assert divided(["x" * 30, "y" * 30], 60) == ["x" * 30, "y" * 30]
