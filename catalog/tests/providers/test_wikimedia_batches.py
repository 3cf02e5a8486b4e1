"""Batches of Wikimedia Commons: continuation, merging, incomplete answers, and batches that never end."""

from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from catalog.core.errors import Fatal, NotWhole, Retry
from catalog.core.jsontypes import JsonObject
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.windows import day_window
from catalog.providers.wikimedia_commons.batches import ENDPOINT, MAX_RESPONSES, Batches
from catalog.providers.wikimedia_commons.imageinfo import usage
from catalog.providers.wikimedia_commons.provider import WikimediaCommons
from catalog.tests.providers.fake_api import client
from catalog.tests.values import present

DAY = day_window(date(2024, 2, 10))
PARAMS = {"prop": "imageinfo|globalusage", "iiprop": "url|metadata", "gaistart": 1}


def file(number, usage=0, **more):
    return {"pageid": number, "globalusage": [{"n": n} for n in range(usage)], **more}


def described(number, usage=0):
    info = {
        "mediatype": "BITMAP",
        "url": f"https://upload.wikimedia.org/{number}.jpg",
        "descriptionshorturl": f"https://commons.wikimedia.org/w/index.php?curid={number}",
        "extmetadata": {"LicenseUrl": {"value": "https://creativecommons.org/licenses/by/4.0"}},
    }
    return file(number, usage, title=f"File:{number}.jpg", imagerepository="local", imageinfo=[info])


def answer(*files, complete=False, **following):
    body: JsonObject = {"query": {"pages": {str(f["pageid"]): f for f in files}}} if files else {}
    body |= {"batchcomplete": ""} if complete else {}
    return body | ({"continue": following} if following else {})


def fetch(api, token=None):
    """The page at a token, and the parameters of each request."""
    asker = client(lambda url, params: api(params))
    page = Batches().fetch(asker, {"continue": token or {}}, PARAMS)
    return page, [params for _, params in asker._sender.transport.requests]


def in_turn(*bodies):
    """Answers one after the other; the last one, which is asked for twice, again and again."""
    left = list(bodies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def test_a_batch_in_several_answers_is_merged():
    page, asked = fetch(
        in_turn(
            answer(file(1, 2, imageinfo=["i"]), gucontinue="a|1", **{"continue": "||imageinfo"}),
            answer(file(1, 1), file(2), complete=True, gaicontinue="next"),
        )
    )
    assert [len(f.get("globalusage", [])) for f in page.items] == [3, 0]
    assert page.items[0]["imageinfo"] == ["i"]
    assert page.next == {"continue": {"gaicontinue": "next"}}
    assert asked[1] == {**asked[0], "gucontinue": "a|1", "continue": "||imageinfo"}


def test_stale_tokens_are_not_sent_again():
    """MediaWiki's rule: the original parameters and the latest `continue`, nothing older."""
    page, asked = fetch(
        in_turn(
            answer(file(1, imageinfo=["i"]), gucontinue="a"),
            answer(file(1), iicontinue="b"),
            answer(file(1), complete=True),
        ),
        {"gaicontinue": "x"},
    )
    assert page.next is None
    tokens = [sorted(set(a) - set(PARAMS)) for a in asked]
    assert tokens == [["gaicontinue"], ["gucontinue"], ["iicontinue"], ["iicontinue"]]


def test_a_batch_that_never_completes_is_asked_again_without_what_keeps_it_open():
    def api(params):
        if "globalusage" in params["prop"]:
            return answer(file(1, 1), gucontinue="for ever", **{"continue": "||imageinfo"})
        if "metadata" in params["iiprop"]:
            return answer(file(1), iicontinue="for ever")
        return answer({"pageid": 1, "imageinfo": ["i"]}, complete=True, gaicontinue="next")

    page, asked = fetch(api, {"gaicontinue": "here"})
    assert len(asked) == 2 * MAX_RESPONSES + 1
    assert {key: asked[-1][key] for key in ("gaicontinue", "prop", "iiprop")} == {
        "gaicontinue": "here",
        "prop": "imageinfo",
        "iiprop": "url",
    }
    assert page.items == [{"pageid": 1, "imageinfo": ["i"]}]
    assert page.next == {"continue": {"gaicontinue": "next"}}


@pytest.mark.parametrize(("uses", "known"), [(1, [7, None, None]), (6, [42, 558, None])])
def test_after_a_batch_that_never_completes_only_a_known_usage_is_told(uses, known):
    """The first file's usage is complete, that of the second goes on, and the third was not reached."""
    count = iter(range(1, MAX_RESPONSES + 1))

    def api(params):
        if "globalusage" in params["prop"]:
            first = next(count) <= 7
            listed = file(1, uses if first else 0), file(2, 0 if first else uses), file(3)
            return answer(*listed, gucontinue="for ever")
        return answer(*({"pageid": n, "imageinfo": ["i"]} for n in (1, 2, 3)), complete=True)

    page, _ = fetch(api)
    assert [usage(item) for item in page.items] == known


def test_a_last_batch_is_asked_for_once_more_as_its_continue_may_be_missing():
    more = answer(file(1, imageinfo=["i"]), complete=True, gaicontinue="next")
    page, asked = fetch(in_turn(answer(file(1, imageinfo=["i"]), complete=True), more))
    assert page.next == {"continue": {"gaicontinue": "next"}}
    assert asked[0] == asked[1]

    used = answer(file(1, 2, imageinfo=["i"]), complete=True)
    page, asked = fetch(in_turn(used))
    assert (page.next, len(asked)) == (None, 2)
    assert usage(page.items[0]) == 2  # not counted twice


def test_files_that_came_once_are_not_lost_by_asking_again():
    """A server that lags behind, or an answer that is cut, may hold fewer files, or less of one."""
    info = {"imageinfo": ["i"]}
    whole = answer(file(1, 2, **info), file(2, 3, **info), file(3, 1, **info), complete=True)
    again = answer(file(1, 1), file(3, 4, **info), complete=True, gaicontinue="next")
    page, _ = fetch(in_turn(whole, again))
    assert {item["pageid"]: usage(item) for item in page.items} == {1: 1, 2: 3, 3: 4}
    assert all(item["imageinfo"] == ["i"] for item in page.items)
    assert page.next == {"continue": {"gaicontinue": "next"}}
    page, _ = fetch(in_turn(whole, {"batchcomplete": ""}))
    assert {item["pageid"]: usage(item) for item in page.items} == {1: 2, 2: 3, 3: 1}

    further = answer(file(2, 2), complete=True)  # is asked for twice as well
    page, _ = fetch(in_turn(whole, answer(file(1, 2, **info), gucontinue="b"), further))
    assert {item["pageid"]: usage(item) for item in page.items} == {1: 2, 2: 2, 3: 1}
    assert all(item["imageinfo"] == ["i"] for item in page.items)


def test_a_batch_that_nothing_completes_is_an_error():
    with pytest.raises(Retry, match="not complete after 100 responses"):
        fetch(lambda _: answer(file(1), new="for ever"))


@pytest.mark.parametrize("complete", [True, False])
def test_a_batch_without_files_that_names_the_next_one(complete):
    page, asked = fetch(in_turn(answer(complete=complete, gaicontinue="b")), {"gaicontinue": "a"})
    assert page.items == []
    assert page.next == {"continue": {"gaicontinue": "b"}}
    assert len(asked) == 1


BROKEN = [
    ({}, "neither `query` nor `continue` nor `batchcomplete`"),
    ([], "neither `query` nor `continue` nor `batchcomplete`"),
    ({"message": "moved"}, "the response has `message`"),
    ({"servedby": "mw1", "error": {"code": "maxlag", "info": "6 s lagged", "lag": 6}}, "maxlag"),
    (answer(file(1)), "the batch is not complete, and nothing says how to continue"),
    (answer(file(1), gaicontinue="b"), "continues with the next batch, but this one is not complete"),
    (answer(file(1), gaicontinue="b", gucontinue="x"), "continues with the next batch"),
    (answer(complete=True), "no file came, but a should be the next one"),
    (answer(file(1), file(2, imageinfo=[]), complete=True), "2 files, but no `imageinfo` of any"),
    (answer({"pageid": 1, "imageinfo": ["i"]}, complete=True), "1 files, but no `globalusage` of any"),
    ({"batchcomplete": "", "query": None}, r"`query\.pages` is missing: `query` is null"),
    ({"batchcomplete": "", "query": {"pages": [file(1)]}}, r"`query\.pages` is of type list"),
    ({"batchcomplete": "", "query": {"pages": {"1": None}}}, "is not an object"),
    ({"batchcomplete": "", "query": {"pages": {"1": file(1) | {"globalusage": 3}}}}, "is not a list"),
    (answer(file(1), complete=True) | {"continue": None}, "`continue` is null"),
    (answer(file(1), complete=True) | {"continue": {}}, "does not say how to continue"),
    (answer(file(1), complete=True) | {"continue": {"gaicontinue": None}}, "does not say how to continue"),
]


@pytest.mark.parametrize(("body", "message"), BROKEN)
def test_a_broken_answer_is_asked_for_again_and_never_taken_for_a_batch(body, message):
    with pytest.raises(Retry, match=f"gave up after 4 attempts: .*{message}"):
        fetch(lambda _: body, {"gaicontinue": "a"})
    good = answer(file(1, imageinfo=["i"]), complete=True)
    assert fetch(in_turn(body, good), {"gaicontinue": "a"})[0].items == [file(1, imageinfo=["i"])]


def test_the_first_batch_is_not_left_before_it_is_complete():
    with pytest.raises(Retry, match="continues with the next batch, but this one is not complete"):
        fetch(lambda _: answer(file(1, imageinfo=["i"]), gaicontinue="b"))


@pytest.mark.parametrize(
    "text", ["Unrecognized parameter: gulimit.", 'Unrecognized value for parameter "prop": globalusage.']
)
def test_a_part_of_the_question_that_is_not_known_is_an_error(text):
    good = answer(file(1, imageinfo=["i"]), complete=True)
    with pytest.raises(Fatal, match=f"ignored a part of the request: main: {text[:20]}"):
        fetch(in_turn(good | {"warnings": {"main": {"*": text}}}))
    cut = {"result": {"*": "This result was truncated because it would otherwise be larger than the limit."}}
    assert fetch(in_turn(good | {"warnings": cut}))[0].items


# Whole pulls


def pull(folder, api):
    """Global usage of each file that was written, the counts, and what is missing."""
    parts = Parts(UPath(folder), "wikimedia_commons", datetime(2024, 2, 11, tzinfo=UTC), DAY)
    puller = Pull(WikimediaCommons(), client(api), parts, run_id="r", window=DAY)
    try:
        manifest, error = puller.run(), None
    except NotWhole as not_whole:
        manifest, error = present(parts.load()), not_whole
    rows = [
        line.split("\t")
        for path in parts.tsv_files("image", manifest)
        for line in path.read_text().splitlines()
    ]
    found = {
        int(row[0]): int(
            next(orjson.loads(field)["global_usage_count"] for field in row if field.startswith('{"'))
        )
        for row in rows
    }
    return found, manifest.counts["image"], error


class FakeWiki:
    """MediaWiki with a list of files, of which a filter may leave none in a batch.

    usages: of each file, the number of pages that use it. batch: files in one. usage_limit: usages in one
    answer. hidden: positions in the list that the filter takes out.
    """

    def __init__(self, usages, batch, usage_limit, hidden=()):
        self.usages, self.batch, self.usage_limit, self.hidden = usages, batch, usage_limit, hidden

    def __call__(self, url, params):
        assert url == ENDPOINT
        start = int(params.get("gaicontinue", "0|").split("|")[0])
        end = min(start + self.batch, len(self.usages))
        numbers = [n for n in range(start, end) if n not in self.hidden]
        uses = [(n, use) for n in numbers for use in range(self.usages[n])]
        done = int(params.get("gucontinue", "0"))
        told = uses[done : done + self.usage_limit]
        files = [described(n + 1) if not done else file(n + 1) for n in numbers]
        for f in files:
            f["globalusage"] = [{"n": use} for n, use in told if n + 1 == f["pageid"]]
        if done + len(told) < len(uses):
            start_of_batch = {"gaicontinue": params["gaicontinue"]} if "gaicontinue" in params else {}
            more = {"gucontinue": str(done + len(told)), "continue": "gaicontinue||imageinfo"}
            return answer(*files, **start_of_batch, **more)
        more = {"gaicontinue": f"{end}|x", "continue": "gaicontinue||"} if end < len(self.usages) else {}
        return answer(*files, complete=True, **more)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=14),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sets(st.integers(0, 12)),
)
def test_every_file_comes_with_all_its_usages(usages, batch, usage_limit, hidden):
    hidden = {n for n in hidden if n + batch < len(usages)}  # the last batch has files
    with TemporaryDirectory() as folder:
        found, counts, error = pull(Path(folder), FakeWiki(usages, batch, usage_limit, hidden))
    assert found == {n + 1: usage for n, usage in enumerate(usages) if n not in hidden}
    assert counts.fetched == counts.written == len(usages) - len(hidden)
    assert error is None


def test_a_day_without_files_is_not_believed(tmp_path):
    found, _, error = pull(tmp_path, lambda *_: {"batchcomplete": ""})
    assert found == {}
    assert "nothing came at all" in str(error)


def test_a_file_without_image_information_is_a_reject_and_one_that_is_gone_a_skip(tmp_path):
    lost, gone = file(2, imagerepository="local"), file(3, imagerepository="")
    body = answer(described(1, 4), lost, gone, complete=True)
    found, counts, error = pull(tmp_path, lambda *_: body)
    assert found == {1: 4}
    assert [reason.partition(" (")[0] for reason in counts.rejected] == [
        "mapping failed: ValueError: a file without imageinfo"
    ]
    assert counts.skipped == {"no image information": 1}
    assert error is None


def test_the_declared_limits_are_those_of_2026():
    """Three pulls at a time (the daily one and two reingested days) stay below 200 requests a minute."""
    assert WikimediaCommons.needs_contact
    assert 60 / WikimediaCommons.rate.interval <= 200
    assert 1 + WikimediaCommons.reingestion.max_active_tasks <= 3
