"""One suite over every provider: declared completely, mapped as expected, resumable, hard to break."""

import ast
import copy
import functools
import json
import os
import re
import sys
import tempfile
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests import ReadTimeout

from catalog.core.errors import CatalogError, Fatal, Interrupted, LoopDetected, MissingKey, NotWhole, Retry
from catalog.core.jsontypes import Json
from catalog.ingestion.assemble import api_hosts, client_for, replay_of, window_of
from catalog.ingestion.counted import Counted
from catalog.ingestion.links import Links, Tokens
from catalog.ingestion.options import Options
from catalog.ingestion.pagination import Cursor, Page, Paginator
from catalog.ingestion.provider import Provider
from catalog.ingestion.records import Audio, Image, Media, Skip, as_list, dig
from catalog.ingestion.registry import FOLDER, api_names, documentation, provider_class, provider_names
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.state import MemoryCheckpoint
from catalog.ingestion.tsv import Encoder, Reject, Unwanted
from catalog.ingestion.urls import UrlCleaner
from catalog.scaffold.rows import as_lines, expected_file, pull_recording, read_rows, undecided
from catalog.tests.providers.fake_api import ReadResponse
from catalog.tests.values import present

every_provider = pytest.mark.parametrize("name", api_names())


def some(indexes, most=40):
    """All of them, or `most` at even distances: a few recordings have hundreds of similar requests."""
    return indexes[:: max(1, -(-len(indexes) // most))]


def items(name):
    """The items on the pages of the recording, completed by further requests, as `record` receives them."""
    seen: list[object] = []
    cls = provider_class(name)
    client, replay = client_for(cls, None, replay=replay_of(name, FOLDER)), replay_of(name, FOLDER)
    provider, window = cls(), window_of(cls, None, replay)
    for params in provider.rounds(client, window):
        cursor: Cursor | None = provider.pages.start(params)
        while cursor is not None:
            page = provider.pages.fetch(client, cursor, {**cls.params, **params})
            for raw in provider.complete(page.items, client):
                seen.append(copy.deepcopy(raw))
                provider.record(raw)
            cursor = page.next
    return seen


@pytest.mark.parametrize("name", provider_names())
def test_declaration_is_complete(name):
    cls = provider_class(name)
    assert cls.name == name
    assert set(cls.catalog_names) <= {"image", "audio"}
    assert cls.schedule in ("@daily", "@weekly", "@monthly", "@quarterly") or cls.schedule.count(" ") == 4
    assert not cls.dated or cls.schedule == "@daily"
    assert cls.rate.interval > 0
    assert len(documentation(cls)) > 80, "the module docstring is the DAG's documentation"
    assert cls.dated or not cls.reingestion or not cls.reingestion.days
    lines = (FOLDER / name / "provider.py").read_text().splitlines()
    assert len(lines) <= 200, "past 150 lines a tool is missing in catalog/ingestion"
    assert not any("airflow" in line and "import" in line for line in lines)
    assert not undecided(name), "decide what add-provider has left open, and delete the TODO"


@every_provider
def test_recording_yields_the_expected_rows(name, tmp_path):
    manifest, parts = pull_recording(name, tmp_path)
    expected = [orjson.loads(line) for line in expected_file(name).read_bytes().splitlines()]
    assert read_rows(parts, manifest) == expected
    assert as_lines(read_rows(parts, manifest)) == expected_file(name).read_bytes(), "run ./just expect"
    for counts in manifest.counts.values():
        assert counts.fetched == counts.written + sum(counts.skipped.values()) + sum(counts.rejected.values())
        assert not counts.rejected
        assert all(counts.skipped)


@every_provider
def test_resuming_from_each_page_gives_the_same(name, tmp_path):
    manifest, parts = pull_recording(name, tmp_path / "whole")
    whole = read_rows(parts, manifest)
    for stop_after in some(range(1, manifest.pages + 1)):
        calls, checkpoint, folder = count(1), MemoryCheckpoint(), tmp_path / f"{stop_after}"
        with pytest.raises(Interrupted):
            pull_recording(
                name, folder, checkpoint=checkpoint, should_stop=lambda c=calls, n=stop_after: next(c) == n
            )
        again, parts = pull_recording(name, folder, checkpoint=checkpoint)
        assert read_rows(parts, again) == whole
        assert again.counts == manifest.counts


def keys_in(value, path=()):
    """Paths of all keys of an item."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(as_list(value)):
        if isinstance(value, dict):
            yield (*path, key)
        yield from keys_in(inner, (*path, key))


@pytest.mark.parametrize("name", [name for name in api_names() if provider_class(name).popularity])
def test_a_popularity_that_the_api_does_not_tell_is_not_stored_as_another(name):
    """A load then keeps the stored one: a 0 would take its place."""
    cls, metric = provider_class(name), present(provider_class(name).popularity)

    def told(raw):
        with suppress(Exception):  # the item is rejected then
            found = cls().record(raw)
            records = [found] if isinstance(found, Media | Skip) else found
            return [dig(r.meta_data, metric) for r in records if not isinstance(r, Skip)]
        return []

    forgotten = 0
    for raw in items(name)[:5]:
        before = told(copy.deepcopy(raw))
        for path in keys_in(raw):
            item = copy.deepcopy(raw)
            del functools.reduce(lambda node, step: node[step], path[:-1], item)[path[-1]]
            now = told(item)
            assert set(now) <= {*before, None}, path
            forgotten += now != before
    assert forgotten, "no item of the recording has the popularity"


@every_provider
def test_limit(name, tmp_path):
    manifest, parts = pull_recording(name, tmp_path, options=Options(limit=1))
    assert len(read_rows(parts, manifest)) == 1


@every_provider
def test_a_missing_key_says_where_to_get_one(name):
    cls = provider_class(name)
    if cls.key is None:
        client_for(cls, None)
        return
    with pytest.raises(MissingKey, match=cls.key.variable) as raised:
        client_for(cls, None)
    assert cls.key.get_at in str(raised.value)


@every_provider
def test_a_key_has_a_host_that_is_asked_over_https(name):
    cls = provider_class(name)
    if cls.key is None:
        return
    assert api_hosts(cls)
    address = getattr(cls().pages, "url", None)
    assert address is None or (
        address.startswith("https://") and urlsplit(address).hostname in api_hosts(cls)
    )


@pytest.mark.enable_socket
@every_provider
def test_a_base_url_takes_the_place_of_the_api(name, httpserver):
    """Nothing is requested from the API, which `catalog ingest --base-url` promises."""
    client = client_for(provider_class(name), None, base_url=httpserver.url_for("/there"))
    httpserver.expect_request(re.compile("/there/.*")).respond_with_json({})
    address = present(getattr(provider_class(name)().pages, "url", None))
    assert client.get_json(address.replace("{page}", "1")) == {}


def test_a_base_url_needs_to_know_what_it_replaces():
    class Mine(Provider):
        name = "mine"
        catalog_names = {"image": "mine"}
        pages = type("Odd", (Paginator,), {"start": None, "fetch": None})()

    with pytest.raises(Fatal, match="the host whose requests `base_url` replaces is unknown"):
        client_for(Mine, None, base_url="http://127.0.0.1:9")


class Faulty(ReplayAdapter):
    """The recording with one request that fails, once or always, with `status`; None is a timeout."""

    def __init__(self, folder, index, status, once):
        super().__init__(folder)
        self.index, self.status, self.once, self.count, self.hit = index, status, once, -1, False
        self.lock = threading.Lock()

    def send(self, request, *args, **kwargs):
        with self.lock:
            self.count += 1
            faulty = self.count == self.index and not (self.once and self.hit)
            if faulty:
                self.hit = True
                self.count -= not self.once
        if faulty:
            if self.status is None:
                raise ReadTimeout("made up")
            return ReadResponse(self.status, b"busy", request.url)
        return super().send(request, *args, **kwargs)


@every_provider
@pytest.mark.parametrize("status", [429, 500, None])
@pytest.mark.parametrize("once", [True, False])
def test_trouble_at_any_request(name, status, once, tmp_path, monkeypatch):
    """One failure changes nothing; a permanent one gives an error, rejects, or rows without its data."""
    expected = [orjson.loads(line) for line in expected_file(name).read_bytes().splitlines()]
    requests = Faulty(FOLDER / name / "recording", -1, status, once)
    monkeypatch.setattr("catalog.scaffold.rows.replay_of", lambda *_: requests)
    pull_recording(name, tmp_path / "undisturbed")
    for index in some(range(requests.count + 1)):
        adapter = Faulty(FOLDER / name / "recording", index, status, once)
        monkeypatch.setattr("catalog.scaffold.rows.replay_of", lambda *_, a=adapter: a)
        try:
            manifest, parts = pull_recording(name, tmp_path / f"{index}")
            rows = read_rows(parts, manifest)
            rejected = sum(sum(c.rejected.values()) for c in manifest.counts.values())
            assert rows == expected or (not once and is_less(rows, expected, rejected))
        except (Retry, NotWhole) as error:
            assert not once
            assert isinstance(error, NotWhole) or "gave up" in str(error)
        assert adapter.hit


def is_less(rows, expected, rejected):
    """Whether rows are the expected ones, less some values, and less items that are rejects."""
    known = {(row["media_type"], row["foreign_identifier"]): row for row in expected}
    for row in rows:
        whole = known.pop((row["media_type"], row["foreign_identifier"]))
        if any(
            whole.get(key) != value for key, value in row.items() if key not in ("audio_set", "meta_data")
        ):
            return False
    return not known or rejected > 0


class Stuck(ReplayAdapter):
    """The API answers each kind of request as it did the first time it had something, for ever.

    A kind is an address less the number at its end, and the names of parameters.
    """

    def __init__(self, folder):
        super().__init__(folder)
        self.first, self.asked, self.lock = {}, 0, threading.Lock()

    def send(self, request, *args, **kwargs):
        parts = urlsplit(request.url)
        path = re.sub(r"\d+$", "#", parts.path) if request.method == "GET" else parts.path
        kind = request.method, parts.netloc, path, tuple(sorted(parse_qs(parts.query)))
        with self.lock:
            self.asked += 1
            assert self.asked < 20_000, "nothing ends this"
            if kind not in self.first or len(self.first[kind].content) < 250:  # empty so far
                self.first[kind] = super().send(request, *args, **kwargs)
            return self.first[kind]


class Viewed(Stuck):
    """The same, but each item says how often the API was asked."""

    def send(self, request, *args, **kwargs):
        answer = copy.copy(super().send(request, *args, **kwargs))
        with suppress(orjson.JSONDecodeError):
            answer._content = orjson.dumps(with_views(orjson.loads(answer.content), self.asked))
        return answer


def with_views(value, number, listed=False):
    """Return JSON in which each item of each list has one more field."""
    if isinstance(value, list):
        return [with_views(item, number, listed=True) for item in value]
    if not isinstance(value, dict):
        return value
    views = {"times_asked": number} if listed else {}
    return {key: with_views(item, number) for key, item in value.items()} | views


NEVER_ENDS = (
    "{name} counts its pages until one is empty. The API repeats its first page for ever here, and the pull "
    "ended as if it had read everything. Declare `total=`, or derive from Paginator instead of Counted if a "
    "response says itself that no page follows; see Pages in docs/adding_a_provider.md."
)


def may_end(cls):
    """Whether a pull may end although the API repeats a page for ever.

    `Links` and `Tokens` end without a continuation, and after the page's own; a number of pages in a header
    is read once; a paginator of one's own decides itself, and may read a single list. Only counting up to an
    empty page must be caught: an API that ignores the parameter has none.
    """
    pages = cls().pages
    return not isinstance(pages, Counted) or bool(pages.pages_header)


class OneList(Paginator):
    """A paginator as a contributor writes it."""

    def start(self, params):
        return {}

    def fetch(self, client, cursor, params):
        return Page([])


@pytest.mark.parametrize(
    ("pages", "ends"),
    [
        (OneList(), True),
        (Links("https://x.example", items=""), True),
        (Tokens("https://x.example", items="", param="t", following_header="X-Next"), True),
        (Counted("https://x.example", items="", pages_header="X-Pages"), True),
        (Counted("https://x.example", items=""), False),
        (Counted("https://x.example", items="", param="offset", first=0, step=50, total="total"), False),
    ],
)
def test_only_counting_up_to_an_empty_page_never_ends(pages, ends):
    """No provider has to be listed anywhere, whatever paginator it has."""
    assert may_end(type("Museum", (Provider,), {"name": "museum", "pages": pages})) is ends


@every_provider
def test_a_page_that_is_repeated_for_ever_is_caught(name, tmp_path, monkeypatch):
    adapter = Stuck(FOLDER / name / "recording")
    monkeypatch.setattr("catalog.scaffold.rows.replay_of", lambda *_: adapter)
    try:
        pull_recording(name, tmp_path)
    except LoopDetected as error:
        assert "the pull stopped there" in str(error)
    else:
        assert may_end(provider_class(name)), NEVER_ENDS.format(name=name)


@every_provider
def test_a_page_that_is_repeated_with_other_values_is_not_read_for_long(name, tmp_path, monkeypatch):
    adapter = Viewed(FOLDER / name / "recording")
    monkeypatch.setattr("catalog.scaffold.rows.replay_of", lambda *_: adapter)
    with suppress(LoopDetected, NotWhole):
        pull_recording(name, tmp_path)
    assert adapter.asked < 500


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just("https://"),
)


def broken(draw, raw):
    """A copy of an item in which one value, anywhere, is removed or of another type."""
    raw = copy.deepcopy(raw)
    node = raw
    path: list[tuple[Json, Json]] = []
    while isinstance(node, dict | list) and node and (not path or draw(st.booleans())):
        step = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        path.append((node, step))
        node = node[step]
    parent, step = path[-1]
    if draw(st.booleans()):
        parent[step] = draw(leaves)
    else:
        del parent[step]
    return raw


@every_provider
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_broken_item_is_at_worst_a_reject(name, data):
    """The mapping may fail, so that the item is rejected; its records can be encoded or are refused."""
    if name not in _items:
        _items[name] = items(name)
    provider = provider_class(name)()
    raw = broken(data.draw, data.draw(st.sampled_from([item for item in _items[name] if item])))
    try:
        mapped = provider.record(raw)
    except Exception as error:
        assert not isinstance(error, CatalogError | AssertionError)
        return
    for record in mapped if isinstance(mapped, list) else [mapped]:
        assert isinstance(record, Image | Audio | Skip)
        if isinstance(record, Media):
            media_type = record.media_type
            try:
                line = Encoder(media_type, "x", UrlCleaner()).line(record)
            except (Reject, Unwanted) as reason:
                assert str(reason)
            else:
                assert line.count("\n") == 1


_items: dict[str, list[object]] = {}


class Mangled(ReplayAdapter):
    """The recording, but one value somewhere in the JSON of one answer is removed or of another type."""

    def __init__(self, folder, index, draw, most=sys.maxsize):
        super().__init__(folder)
        self.index, self.draw, self.most, self.count, self.lock = index, draw, most, -1, threading.Lock()

    def send(self, request, *args, **kwargs):
        response = super().send(request, *args, **kwargs)
        with self.lock:
            self.count += 1
            assert self.count < self.most, "the pull goes on and on"
            if self.count == self.index and response.content.startswith((b"{", b"[")):
                try:
                    body = orjson.loads(response.content)
                except ValueError:
                    return response
                response._content = json.dumps(broken(self.draw, body)).encode() if body else b"null"
        return response


@functools.cache
def whole(name):
    """How many requests a pull of the recording makes when nothing is wrong."""
    adapter = Mangled(FOLDER / name / "recording", -2, None)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("catalog.scaffold.rows.replay_of", lambda *_: adapter)
        pull_recording(name, Path(folder))
    return adapter.count + 1


@every_provider
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mangled_answer_never_crashes_a_pull(name, data):
    """Whatever a response holds, the pull ends or raises a CatalogError, and every item is counted."""
    # A total that is mangled to a huge one divides a day into hundreds of slices.
    adapter = Mangled(
        FOLDER / name / "recording", data.draw(st.integers(0, 8)), data.draw, most=5 * whole(name) + 2000
    )
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr("catalog.scaffold.rows.replay_of", lambda *_: adapter)
        patch.setattr(provider_class(name), "concurrency", 1)  # hypothesis draws in one thread
        try:
            manifest, _ = pull_recording(name, Path(folder))
        except CatalogError:
            return
    for counts in manifest.counts.values():
        assert counts.fetched == counts.written + sum(counts.skipped.values()) + sum(counts.rejected.values())


@pytest.mark.skipif(
    "SAMPLES" not in os.environ, reason="SAMPLES names a folder of recordings of real answers"
)
@every_provider
def test_real_answers(name, tmp_path, monkeypatch):
    monkeypatch.setattr("catalog.scaffold.rows.FOLDER", FOLDER.__class__(os.environ["SAMPLES"]))
    manifest, parts = pull_recording(name, tmp_path)
    assert read_rows(parts, manifest)


def test_no_two_providers_have_the_same_name_in_the_catalog():
    names = [name for one in provider_names() for name in provider_class(one).catalog_names.values()]
    assert len(names) == len(set(names))


def test_a_provider_imports_only_what_contributors_are_told_of():
    """Whatever several of them need belongs into `provider_api`; helpers of one provider are beside it."""
    for path in FOLDER.glob("*/provider.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (module := str(node.module)).startswith("catalog."):
                assert module.startswith(("catalog.provider_api", f"catalog.providers.{path.parent.name}"))
