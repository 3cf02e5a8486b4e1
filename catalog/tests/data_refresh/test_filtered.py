"""The filtered index and its terms, on a real search engine with its usual limits."""

import re
import unicodedata
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.data_refresh.search import sensitive as lists
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.bulk import BulkSender, index_action, update_action
from catalog.data_refresh.search.documents import document
from catalog.data_refresh.search.filtered import FilteredIndex
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.normal_form import normal_form
from catalog.data_refresh.search.sensitive import parse_terms, sensitive_groups
from catalog.data_refresh.search.tag_policy import DEFAULT, TagFilter
from catalog.database import sample_data
from catalog.publishing.columns import TYPES
from catalog.publishing.sensitive import Sensitive
from catalog.tests.data_refresh.indexes import Progress, image_indexer, keep, make
from catalog.tests.data_refresh.test_documents import BASE
from catalog.tests.forms import FORMS, HARMLESS

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


def titled(search, titles, name="image-a"):
    """Create an index of images with these titles; identifiers are consecutive numbers."""
    make(search, name)
    tags = TagFilter(DEFAULT)
    actions = []
    for number, title in enumerate(titles):
        row = BASE._replace(id=number, title=title)
        actions.append(index_action(str(number), document("image", row, tags)))
    BulkSender(search, search.require(name).writer).send(actions)
    search.refresh(name)


def job(search, terms, **options):
    name = "image-a-filtered"
    return FilteredIndex(search, "image-a", name, terms, lambda: make(search, name), **options)


def shown(search, titles):
    keys = [str(n) for n in range(len(titles))]
    return {titles[int(key)] for key in search.matching("image-a-filtered", keys)}


def test_the_filtered_index(api, search):
    """Terms match whole words, several words, and words in dropped tags; longer words do not match."""
    sample_data.fill(api, "api", 500)
    for number, change in {
        30: "title = 'A Water lily'",
        31: "title = 'waterfall'",
        32: "meta_data = jsonb_build_object('description', 'the old fire  brigade, again')",
        33: "title = 'brigade of fire'",
        34: 'tags = \'[{"name": "geo:running"}]\'',
        35: 'tags = \'[{"name": "Mother-in-law"}]\'',
        36: "title = 'Running''s fun'",
        37: "title = 'the snow_water_ice'",
    }.items():
        api.execute(f"update image set {change} where id = {number}")
    make(search, "image-a")
    image_indexer(api, search).run()
    search.refresh("image-a")
    terms = parse_terms("water\n# a note\n\n  Fire   Brigade \nrunning\nmother-in-law\n")
    assert job(search, terms).run()[:2] == (499 - 6, 6)
    ids = api.execute("select id, identifier::text from image where id between 30 and 37").fetchall()
    there = {i for i, key in ids if search.client.exists(index="image-a-filtered", id=key)}
    assert there == {31, 33}


MANY = (
    [f"two words{n}" for n in range(1200)]
    + [f"word{n}" for n in range(12_000)]
    + ["c++", "mother-in-law", "$$$"]
)
LAST = ["zz zz last"]  # terms are sorted: in the last group


@pytest.mark.parametrize("words", [5_000, 700])
def test_any_number_of_terms(search, monkeypatch, words):
    """The list is far longer than one query allows; documents found by several queries count once."""
    monkeypatch.setattr(lists, "WORDS", words)
    titles = [
        "word11999",
        "two words0, two words1199, zz zz last",
        "the zz zz last one",
        "two words1200",
        "words0 two",
        "zz last",
    ]
    titled(search, titles)
    assert len(sensitive_groups(MANY + LAST)) > 5
    assert job(search, MANY + LAST).run()[:2] == (3, 3)
    assert shown(search, titles) == {"two words1200", "words0 two", "zz last"}


def test_words_that_are_only_searched_hide_documents_in_every_group(search):
    """From the copy, the matches of all groups but the first are deleted."""
    make(search, "image-a")
    words = {"0": "zz zz last", "1": "two words0", "2": "harmless", "3": "word11999", "4": "two words1199"}
    actions = [
        index_action(key, {"id": int(key), "title": "plain", "sensitive_text": text})
        for key, text in words.items()
    ]
    BulkSender(search, search.require("image-a").writer).send(actions)
    search.refresh("image-a")
    assert job(search, MANY + LAST).run()[:2] == (1, 4)
    assert search.matching("image-a-filtered", list(words)) == ["2"]


def test_a_document_that_was_marked_stays_hidden(search):
    """A mark as mature, and its removal, are partial updates; the engine has only what the document keeps."""
    texts: dict[str, dict[str, Any]] = {
        "0": {"tags": [{"name": "geo:running"}]},
        "1": {"meta_data": {"description": "plain " * 400 + "running"}},
        "2": {"title": "keep_running"},
        "3": {"title": "Run\u0301ning"},
        "4": {},
        "5": {"tags": [{"name": "geo:running\u0323"}]},  # a mark belongs to its letter: another word
    }
    tags, terms = TagFilter(DEFAULT), ["running", "ru\u0144ning", "harm"]
    make(search, "image-a")
    sender = BulkSender(search, search.require("image-a").writer)
    rows = {key: BASE._replace(id=int(key), **changed) for key, changed in texts.items()}
    sender.send([index_action(key, document("image", row, tags)) for key, row in rows.items()])
    for mature in (True, False):
        sender.send([update_action(key, {"mature": mature}) for key in texts])
    search.refresh("image-a")
    assert job(search, terms).run()[:2] == (2, 4)
    assert set(search.matching("image-a-filtered", list(texts))) == {"4", "5"}


def test_an_index_of_an_earlier_release_is_refused(search):
    """Its documents do not keep the text in which only sensitive terms are searched."""
    body = index_body("image", index_meta("image", "image_data_refresh", "run", DEFAULT), 1)
    body["mappings"]["_source"] = {"excludes": ["sensitive_text"]}
    search.create("image-a", body)
    with pytest.raises(Refused, match=r"lose the field sensitive_text when .* create_index and all tasks"):
        job(search, ["running"]).run()
    assert not search.exists("image-a-filtered")


def test_each_query_is_within_the_usual_limits():
    for group in sensitive_groups(MANY):
        clauses = group["bool"]["should"]
        assert len(clauses) <= 900
        assert all(len(words) <= 5_000 for c in clauses if "terms" in c for words in c["terms"].values())


@pytest.mark.parametrize("at", [0, 1, 3])
def test_work_goes_on_where_it_was_stopped(search, at):
    """The task is asked to stop while the engine copies, or deletes the matches of a group of terms."""
    titles = [f"two words{n}" for n in range(0, 1200, 100)] + ["plain"] * 9
    titled(search, titles)
    state: Progress = {}
    calls: list[tuple[int, str]] = []
    made: list[object] = []

    def stop():
        calls.append((state["at"]["group"], state["at"]["task"]))
        return calls[-1][0] == at

    with pytest.raises(Interrupted):
        job(search, MANY, per_second=20, **keep(state, should_stop=stop)).run()
    before = search.identity("image-a-filtered").uuid
    assert state["at"]["task"]
    assert job(search, MANY, per_second=20, **keep(state, report=made.append)).run()[:2] == (9, 12)
    assert search.identity("image-a-filtered").uuid == before


@pytest.mark.parametrize("change", ["index", "terms", "gone", "shape"])
def test_progress_of_something_else_does_not_count(search, change):
    """Saved progress of another index or list is ignored, and the index is rebuilt from the start."""
    titles = ["two words7", "plain", "zz zz last"]
    titled(search, titles)
    state: Progress = {}
    options = keep(state)
    job(search, MANY, **options).run()
    before, terms = search.identity("image-a-filtered").uuid, MANY
    if change == "index":
        make(search, "image-a-filtered")
    elif change == "terms":
        terms = MANY + LAST
    elif change == "gone":
        search.delete(["image-a-filtered"])
    else:
        state["at"] = {"task": "node:1"}
    assert job(search, terms, **options).run().documents == (1 if change == "terms" else 2)
    assert search.identity("image-a-filtered").uuid != before


def test_an_engine_that_was_restarted(search):
    titled(search, ["two words7", "plain"])
    state: Progress = {}
    options = keep(state)
    assert job(search, MANY, **options).run()[:2] == (1, 1)
    state["at"] |= {"task": "node:1", "copied": -1, "group": 0}
    with pytest.raises(Retry, match="does not know the task"):
        job(search, MANY, **options).run()
    assert job(search, MANY, **options).run()[:2] == (1, 1)


def test_a_filtered_index_that_is_deleted(search):
    titles = [f"two words{n}" for n in range(0, 1200, 100)] + ["plain"] * 9
    titled(search, titles)
    state: Progress = {}
    seen: list[object] = []

    def stop():
        if not seen:
            seen.append(search.delete(["image-a-filtered"]))
        return False

    with pytest.raises(Fatal, match="image-a-filtered is missing"):
        job(search, MANY, per_second=10, **keep(state, should_stop=stop)).run()
    assert not search.exists("image-a-filtered")
    assert job(search, MANY, **keep(state)).run()[:2] == (9, 12)


def test_a_copy_that_lacks_documents(search):
    """The count reveals the missing documents, and the copy is repeated."""
    titled(search, ["two words7", "plain", "plainer"])

    state: Progress = {}
    lost: list[object] = []

    def save(s):
        state["at"] = s
        if s and s["copied"] >= 0 and not lost:
            search.refresh("image-a-filtered")
            lost.append(
                search.client.delete_by_query(index="image-a-filtered", query={"ids": {"values": ["2"]}})
            )

    attempt = Attempt(lambda: state.get("at"), save)
    with pytest.raises(Retry, match="holds 1 documents instead of 2"):
        job(search, MANY, attempt=attempt).run()
    assert job(search, MANY, attempt=attempt).run()[:2] == (2, 1)


def test_terms_that_look_a_little_like_html():
    assert parse_terms("<3\n1 < 2\na <- b\n") == ["1 < 2", "<3", "a <- b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n# only a note\n", "is empty"),
        ("<html>no</html>", "not a list"),
        ("water\n<!DOCTYPE html>", "not a list"),
        ('<?xml version="1.0"?>', "not a list"),
        ('<a href="/login">', "not a list"),
        ("</p>", "not a list"),
        ("a" * 201, "not a list"),
        ("\ufeff\n \u200b", "is empty"),
        ('{"message": "API rate limit exceeded"}', "is JSON"),
        ('\ufeff ["water",\n "fire"]', "is JSON"),
    ],
)
def test_a_file_without_terms_is_refused(search, text, message):
    with pytest.raises(Fatal, match=message):
        parse_terms(text)
    with pytest.raises(Fatal, match="hide nothing"):
        job(search, []).run()


@pytest.mark.parametrize("sign", ["!!!", "-", "$$$", "+ +", "…", "«»", "_", "\u0301", "→"])
def test_entries_without_a_word_are_refused(search, sign):
    """The engine finds nothing by them, and the dataset would lack every record with a dash."""
    titled(search, [f"a {sign} b", sign])
    assert [search.count("image-a", group) for group in sensitive_groups([sign])] == [0]
    shown = re.escape(repr(normal_form(sign)))
    with pytest.raises(Fatal, match=rf"entries without a letter or digit, .* index: {shown}\. Remove them"):
        parse_terms(f"water\n{sign}\nfire brigade")


@pytest.mark.parametrize("term", ["🍆", "♥", "c++", "<3", "不"])
def test_symbols_and_signs_beside_a_word_hide_what_contains_them(search, term):
    """In the filtered index and in the dataset."""
    texts = [f"a {term} b", "a harmless one"]
    titled(search, texts)
    found = [search.count("image-a", group) for group in sensitive_groups(parse_terms(term))]
    assert found == [1]
    find = Sensitive(parse_terms(term), normal_form)
    mask = find(pa.array(texts), pa.nulls(2, pa.string()), pa.nulls(2, TYPES["tags"]))
    assert mask.to_pylist() == [True, False]


ODD = st.text("aab1 #+-.@$&'_*<°★♥🍆é不好ไ한アa ", min_size=1, max_size=7)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD, min_size=30, max_size=60), st.lists(ODD, min_size=5, max_size=15))
@example(["a tag", "#tag", "x #tag!", "tagged"], ["#tag", "tag#", "@tag", "$tag$"])
@example(
    ["a c b", "c++", "a+b", "x不a", "不-好", "🍆♥", "x🍆y"], ["c++", "a+b", "a", "不好", "♥", "🍆 ♥", "🍆"]
)
def test_what_the_filtered_index_hides_is_no_part_of_the_dataset(search, texts, terms):
    """Whatever signs a term has, where the engine's tokenizer leaves them out."""
    terms = [term for term in terms if any(c.isalnum() or c in "★♥🍆" for c in normal_form(term))]
    assume(terms)
    if not search.exists("image-a"):
        make(search, "image-a")
    bare = BASE._replace(title=None, meta_data={}, tags=[])
    rows = [bare._replace(id=number, title=text) for number, text in enumerate(texts)]
    rows += [
        bare._replace(id=len(texts) + number, tags=[{"name": f"uploaded {text}"}])
        for number, text in enumerate(texts)
    ]
    tags = TagFilter(DEFAULT)
    actions = [index_action(str(row.id), document("image", row, tags)) for row in rows]
    BulkSender(search, search.require("image-a").writer).send(actions)
    search.refresh("image-a")
    given_texts, none = pa.array(texts), pa.nulls(len(texts), pa.string())
    for term in terms:
        [group] = sensitive_groups([term])
        found = search.matching("image-a", [str(row.id) for row in rows], only=group)
        hidden = {texts[int(key) % len(texts)] for key in found}
        mask = Sensitive([term], normal_form)(given_texts, none, pa.nulls(len(texts), TYPES["tags"]))
        left_out = {text for text, out in zip(texts, mask.to_pylist(), strict=True) if out}
        assert hidden <= left_out, term
        if (term + "".join(left_out - hidden)).isascii():
            assert hidden == left_out, term


PLACES = {
    "title": lambda text: {"title": text},
    "description": lambda text: {"meta_data": {"description": text}},
    "unseen description": lambda text: {"meta_data": {"description": "leaf " * 500 + text}},
    "half seen description": lambda text: {"meta_data": {"description": "leaf " * 399 + text}},
    "several descriptions": lambda text: {"meta_data": {"description": [text, "leaf"]}},
    "list of meta_data": lambda text: {"meta_data": [{"description": text}]},
    "text of meta_data": lambda text: {"meta_data": text},
    "tag": lambda text: {"tags": [{"name": text}]},
    "tag without a name": lambda text: {"tags": [text]},
    "several tags in one": lambda text: {"tags": [{"name": [text]}]},
    "tags that are no list": lambda text: {"tags": {"name": text}},
    "dropped tag": lambda text: {"tags": [{"name": f"uploaded {text}"}]},
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_terms_match_all_forms_of_a_text(search, place):
    """Each term hides all texts that contain another form of it, in any field, and no other texts."""
    make(search, "image-a")
    tags, actions = TagFilter(DEFAULT), []
    for number, (_, text) in enumerate([*FORMS, ("", HARMLESS)]):
        row = BASE._replace(id=number, **place(text))
        actions.append(index_action(str(number), document("image", row, tags)))
    BulkSender(search, search.require("image-a").writer).send(actions)
    search.refresh("image-a")
    missed = []
    for number, (term, text) in enumerate(FORMS):
        [group] = sensitive_groups(parse_terms(term))
        found = {
            h["_id"] for h in search.client.search(index="image-a", query=group, size=100)["hits"]["hits"]
        }
        if str(number) not in found or str(len(FORMS)) in found:
            missed.append((term, text))
    assert missed == []


@given(st.text())
def test_the_normal_form(text):
    form = normal_form(text)
    assert normal_form(form) == form
    assert normal_form(unicodedata.normalize("NFD", text)) == form
    assert normal_form(unicodedata.normalize("NFC", text)) == form
    assert normal_form(text.upper()) == normal_form(text.upper().lower())


@given(
    st.lists(st.sampled_from("aé\u0301\u0316\u0344\u0f73\uff9e\u034f\u00adİ\ufb01 "), min_size=1, max_size=12)
)
def test_the_normal_form_of_a_long_text(characters):
    form = normal_form("".join(characters) * 200)
    assert normal_form(form) == form
