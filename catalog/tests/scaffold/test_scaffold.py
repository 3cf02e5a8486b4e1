"""A new provider works from the start, and `./just expect` says why items are not written."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from catalog.core.errors import NotWhole, Refused
from catalog.core.media import MediaType
from catalog.ingestion.assemble import client_for
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.registry import FOLDER, api_names
from catalog.ingestion.replay import ReplayAdapter
from catalog.mutants.trial import copy_tree
from catalog.provider_api import Audio, Counted, Image, Links, Provider, Tokens
from catalog.scaffold.__main__ import guesses, posted, write
from catalog.scaffold.made_up import KEPT, MadeUp, words
from catalog.scaffold.new import NewProvider
from catalog.scaffold.paging import address, paging_of
from catalog.tests.providers.mapped import record_of
from catalog.tests.values import present

RUFF = Path(sys.executable).parent / "ruff"
ROOT = Path(__file__).parents[3]
CC_BY = "https://creativecommons.org/licenses/by/4.0/"


def made(
    media: tuple[MediaType, ...] = ("image",), url: str = "https://api.museum.example.org/v1/items?key=x"
):
    return NewProvider("Made-Up Museum", url, media)


def provider_in(folder: Path) -> type[Provider]:
    """Return the provider that a folder defines."""
    return provider_of((folder / "provider.py").read_text(encoding="utf-8"))


def provider_of(text: str) -> type[Provider]:
    """Return the provider that a source defines."""
    space: dict[str, object] = {"__name__": "made_up"}
    exec(compile(text, "provider.py", "exec"), space)
    return next(
        c for c in space.values() if isinstance(c, type) and issubclass(c, Provider) and c is not Provider
    )


def licensed(folder: Path) -> bool:
    """Map the license of a new provider if it has not been found; return whether it was."""
    file = folder / "provider.py"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('raw.get("TODO")', repr(CC_BY)), encoding="utf-8")
    return 'raw.get("TODO")' not in text


def pull(folder: Path) -> Manifest:
    """Pull a provider from its own recording, with the offsets as they are recorded."""
    cls = provider_in(folder)
    client = client_for(cls, None, replay=ReplayAdapter(folder / "recording"))
    parts = Parts(UPath(folder.parent / "out"), cls.name, datetime(2024, 1, 1, tzinfo=UTC), None)
    return Pull(cls(), client, parts, run_id="test").run()


@pytest.mark.parametrize("media", [("image",), ("audio",), ("image", "audio"), ("audio", "image")])
def test_a_new_provider_replays_its_recording_and_lists_what_remains_to_be_done(media, tmp_path):
    folder = tmp_path / "made_up_museum"
    write(made(media), folder)
    assert {p.name for p in folder.rglob("*") if p.is_file()} == {
        "__init__.py",
        "provider.py",
        "recording.json",
        "page_1.json",
        "page_2.json",
        "page_3.json",
    }
    cls = provider_in(folder)
    assert (cls.name, cls.__name__, list(cls.catalog_names)) == (
        "made_up_museum",
        "MadeUpMuseum",
        list(media),
    )
    manifest = pull(folder)
    written = {m: c.written for m, c in manifest.counts.items() if c.written}
    assert written == ({media[0]: 3} if len(media) == 1 else {media[0]: 2, media[1]: 1})
    assert sum(c.skipped.get("no identifier", 0) for c in manifest.counts.values()) == 1
    assert (folder / "provider.py").read_text().count("TODO") >= 5


def run(tree, *command):
    """Run a command in a copy of the source tree."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )


def test_it_passes_the_suite_of_all_providers_and_expect_explains_rejects(tmp_path):
    copy_tree(tmp_path)
    made_by = run(tmp_path, "catalog.scaffold", "Made-Up Museum", "https://api.museum.example.org/v1/items")
    assert made_by.returncode == 0, made_by.stderr
    file = tmp_path / "catalog" / "providers" / "made_up_museum" / "provider.py"
    rows = (file.parent / "expected.jsonl").read_bytes()
    suite = ("pytest", "-q", "-p", "no:cacheprovider", "catalog/tests/providers", "-k", "made_up_museum")

    undecided = run(tmp_path, "catalog.scaffold.rows", "made_up_museum")
    assert undecided.returncode == 1
    assert "3 of 4 image items written" in undecided.stderr
    assert "the rows are written, but the lines above are to be decided" in undecided.stderr
    assert '\ncatalog/providers/made_up_museum/provider.py:1: """Made-Up Museum' in undecided.stderr
    refused = run(tmp_path, *suite, "--deselect", "catalog/tests/providers/test_lies.py")
    assert refused.returncode == 1
    assert "decide what add-provider has left open, and delete the TODO" in refused.stdout
    assert refused.stdout.count("\nFAILED ") == 1

    whole = re.sub(r" *# TODO.*", "", file.read_text()).replace("TODO", "made-up")
    file.write_text(whole)
    assert run(tmp_path, "catalog.scaffold.rows", "made_up_museum").returncode == 0
    assert (file.parent / "expected.jsonl").read_bytes() == rows
    passed = run(tmp_path, *suite)
    assert passed.returncode == 0, passed.stdout
    assert passed.stdout.count(".") > 10

    def expected() -> str:
        answer = run(tmp_path, "catalog.scaffold.rows", "made_up_museum")
        assert answer.returncode == 1
        assert (file.parent / "expected.jsonl").read_bytes() == rows, "the file stays as it was"
        return " ".join(answer.stderr.split())

    file.write_text(whole.replace('raw.get("page_url")', 'raw["vessel"]'))
    said = expected()
    assert "0 of 4 image items written; left out: 4 mapping failed: KeyError: 'vessel' (provider.py:" in said
    assert 'the first item: {"id":"1","type":"image"' in said

    file.write_text(whole.replace('items="results"', 'items="data.result"'))
    assert "`data.result` is missing; the response has `total`, `results`; lists: `results`" in expected()

    for path in (file.parent / "recording").iterdir():  # a list that is there, but holds no items
        document = orjson.loads(path.read_bytes())
        path.write_bytes(orjson.dumps({**document, "total": 0, "facets": [], "date": "2024-02-10"}))
    whole = whole.replace('schedule = "@monthly"', 'dated, schedule = True, "@daily"')
    file.write_text(whole.replace('items="results"', 'items="facets"'))
    assert "made_up_museum yields no rows: its pages hold no items; check `items`" in expected()


# One response of each kind of paging, with a secret in each value that must not survive.
ITEM = {
    "id": 4711,
    "page": "https://harbour.example.com/works/red-lighthouse-4711",
    "file": {"src": "https://cdn.harbour.example.com/full/red-lighthouse-4711.jpg", "w": 4000, "h": 3000},
    "small": "https://cdn.harbour.example.com/thumb/red-lighthouse-4711.jpg",
    "title": "Red <b>lighthouse</b> &amp; harbour",
    "artist": {"name": "Zelda Quist", "home": "https://harbour.example.com/artists/zelda"},
    "rights": CC_BY,
    "keywords": "lighthouse, harbour",
    "created": "1987-06-05T04:03:02Z",
}
ITEMS = [ITEM, {**ITEM, "id": 4712, "artist": None}, {**ITEM, "id": 4713, "rights": None}]
URL = "https://api.harbour.example.com/v1/works"
PAGES = {
    "total": ({"total": 900, "works": ITEMS}, f"{URL}?page=1&per_page=3", Counted),
    "number of pages": ({"meta": {"page": 1, "pages": 300}, "works": ITEMS}, URL, Counted),
    "flag": ({"has_more": True, "works": ITEMS}, URL, Counted),
    "offset": ({"works": ITEMS, "total": "900"}, f"{URL}?offset=0&limit=3", Counted),
    "first page 0": ({"works": ITEMS, "total": 900}, f"{URL}?page=0", Counted),
    "list": (ITEMS, URL, Counted),
    "token": ({"works": ITEMS, "next_cursor": "c2VjcmV0"}, URL, Tokens),
    "link": ({"count": 900, "next": f"{URL}?page=2&key=hunter2", "works": ITEMS}, URL, Links),
}


WITHOUT_A_TOTAL = {
    "Links": {"next": f"{URL}?page=2", "works": ITEMS},
    "Tokens": {"next_cursor": "c2VjcmV0", "works": ITEMS},
    "Counted": {"works": ITEMS},
    "Counted to the last page": {"meta": {"page": 1, "pages": 300}, "works": ITEMS},
}


@pytest.mark.timeout(900)  # it runs tests
def test_a_provider_whose_api_announces_no_total_passes_the_suite_as_it_is_made(tmp_path):
    copy_tree(tmp_path)
    for kind, page in WITHOUT_A_TOTAL.items():
        (tmp_path / "page.json").write_bytes(orjson.dumps(page))
        made_by = run(tmp_path, "catalog.scaffold", f"Harbour {kind}", URL, "--from", "page.json")
        assert f"pages: {kind.split()[0]}, " in made_by.stderr
        assert made_by.returncode == 0, made_by.stderr
    for file in tmp_path.glob("catalog/providers/harbour_*/provider.py"):
        file.write_text(re.sub(" *# TODO.*", "", file.read_text()).replace("TODO", "made-up"))
    suite = ("-n", "2", "catalog/tests/providers/test_providers.py", "catalog/tests/providers/test_lies.py")
    passed = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", *suite, "-k", "harbour_")
    assert passed.returncode == 0, passed.stdout
    assert passed.stdout.count(".") > 40


@pytest.mark.parametrize("kind", PAGES)
def test_a_provider_from_a_recorded_page_runs(kind, tmp_path):
    body, url, paginator = PAGES[kind]
    (tmp_path / "page.json").write_bytes(orjson.dumps(body))
    folder = tmp_path / "made_up_museum"
    write(made(url=url), folder, [tmp_path / "page.json"])
    assert isinstance(provider_in(folder).pages, paginator)
    counts = pull(folder).counts["image"]
    assert (counts.written, counts.skipped) == (2, {"no license": 1, "no identifier": 1})
    text = (folder / "provider.py").read_text()
    for line in (
        'item_id = raw.get("id")',
        'landing = raw.get("page")',
        'url = dig(raw, "file", "src")',
        'license_ = license_from_url(raw.get("rights"))',
        'title=raw.get("title")',
        'creator=dig(raw, "artist", "name")',
        'creator_url=dig(raw, "artist", "home")',
        'thumbnail=raw.get("small")',
        'width=dig(raw, "file", "w")',
        'tags=tags_of(raw.get("keywords"))',
        'meta_data=compact(raw, "created")',
    ):
        assert line in text
    everything = b"".join(p.read_bytes() for p in folder.rglob("*.json")).decode().replace(URL, "")
    found = {word for word in words(everything) if len(word) > 3}
    assert not found & {"harbour", "lighthouse", "zelda", "quist", "works", "hunter", "artists"} - {"works"}
    assert "4711" not in everything
    assert CC_BY in everything


@pytest.mark.parametrize(
    ("kind", "url", "body", "sent", "params"),
    [
        ("total", URL, {"query": {"term": "a"}, "page": 1}, ("query", "page"), {"query": {"term": "a"}}),
        (
            "offset",
            URL,
            {"from": 0, "size": 3, "open": True},
            ("size", "open", "from"),
            {"size": 3, "open": True},
        ),
        ("offset", f"{URL}?offset=0", {"size": 3, "q": "a"}, ("size", "q"), {"size": 3, "q": "a"}),
        ("total", f"{URL}?lang=en", {}, ("page",), {"lang": "en"}),
        ("token", URL, {"query": None}, ("query", "cursor"), {"query": None}),
        ("flag", URL, {"query": "1"}, ("query", "page"), {"query": 1}),
    ],
)
def test_an_api_that_is_searched_by_post(kind, url, body, sent, params, tmp_path):
    (tmp_path / "page.json").write_bytes(orjson.dumps(PAGES[kind][0]))
    folder = tmp_path / "made_up_museum"
    write(made(url=url), folder, [tmp_path / "page.json"], body)
    cls = provider_in(folder)
    assert isinstance(cls.pages, Counted | Tokens)
    assert (cls.pages.body, cls.params) == (sent, params)
    requests = [
        i["request"]
        for i in orjson.loads((folder / "recording" / "recording.json").read_bytes())["interactions"]
    ]
    assert {request["method"] for request in requests} == {"POST"}
    counts = pull(folder).counts["image"]
    assert (counts.written, counts.skipped) == (2, {"no license": 1, "no identifier": 1})


def test_a_page_that_is_named_within_the_body_is_left_to_a_person(tmp_path):
    """No paginator counts there, so the guess is named as one, and so is a missing total."""
    page = {"found": [{"id": 1, "rights": CC_BY, "file": "https://x.org/a.jpg"}]}
    (tmp_path / "page.json").write_bytes(orjson.dumps(page))
    body = {"query": "x", "paging": {"page": 1, "size": 2}}
    shape = write(made(), tmp_path / "made_up_museum", [tmp_path / "page.json"], body)
    assert "It may be `paging.page`, but no paginator counts in an object" in present(shape.paging.doubt)
    lines = "\n".join(guesses(shape, ("image",)))
    assert present(shape.paging.doubt) in lines
    assert "the number of items (`total`)" in lines


def test_a_total_of_elasticsearch_is_found():
    url = address(f"{URL}?page=1")
    found = paging_of([{"hits": {"total": {"value": 7, "relation": "eq"}, "hits": [{"a": 1}]}}], url)
    assert (found.items, found.total, found.doubt) == ("hits.hits", "hits.total.value", None)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[1]", "--body must be a JSON object"),
        ("{", "--body cannot be read as JSON"),
        ('{"filters": [{"api_key": "hunter2"}]}', "--body holds a secret, 'api_key'"),
    ],
)
def test_a_body_that_cannot_be_kept_is_refused(body, problem):
    with pytest.raises(Refused, match=problem) as refused:
        posted(body)
    assert "hunter2" not in str(refused.value)


def test_what_the_address_says_is_sent_but_no_key(tmp_path):
    (tmp_path / "page.json").write_bytes(orjson.dumps(PAGES["total"][0]))
    folder = tmp_path / "made_up_museum"
    write(made(url=f"{URL}?page=1&size=30&q=%2A&api_key=hunter2"), folder, [tmp_path / "page.json"])
    cls = provider_in(folder)
    assert cls.params == {"size": 30, "q": "*"}
    assert present(cls.key).param == "api_key"
    assert not any(b"hunter2" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_audio_of_a_recorded_page(tmp_path):
    track = {
        "nr": 1,
        "name": "Old tram",
        "length": "1:03:41",
        "words": "tram, bell",
        "page": "https://sounds.example.com/1",
        "rights": CC_BY,
        "files": [{"src": "https://sounds.example.com/1.mp3", "bytes": 1000}],
    }
    (tmp_path / "page.json").write_bytes(orjson.dumps({"pages": 4, "tracks": [track, {**track, "nr": 2}]}))
    folder = tmp_path / "made_up_museum"
    write(made(("audio",)), folder, [tmp_path / "page.json"])
    assert pull(folder).counts["audio"].written == 2
    record = record_of(Audio, provider_in(folder)().record(track))
    assert (record.duration, record.tags, record.filesize) == (3_821_000, ["tram", "bell"], 1000)


def test_values_beside_the_items_give_the_address_of_a_file(tmp_path):
    works = [{"id": n, "image_id": f"a-{n}"} for n in (1, 2)]
    body = {
        "total": 2,
        "data": works,
        "config": {"iiif_url": "https://iiif.example.com/2", "site": "https://x"},
    }
    (tmp_path / "page.json").write_bytes(orjson.dumps(body))
    folder = tmp_path / "made_up_museum"
    write(made(), folder, [tmp_path / "page.json"])
    assert provider_in(folder).pages.beside == {"iiif_url": "config.iiif_url"}  # type: ignore[attr-defined]
    with pytest.raises(NotWhole, match="items that came could be kept"):
        pull(folder)  # a license is never guessed
    assert not licensed(folder)
    assert pull(folder).counts["image"].written == 2


# Their recordings list no objects.
WITHOUT_OBJECTS = {"justtakeitfree", "metropolitan_museum", "wikimedia_commons"}


@pytest.mark.parametrize("name", api_names())
def test_a_provider_can_be_made_from_the_recording_of_any_other(name, tmp_path):
    recording = FOLDER / name / "recording"
    interactions = orjson.loads((recording / "recording.json").read_bytes())["interactions"]
    url = next(i["request"]["url"] for i in interactions if i["request"]["method"] != "HEAD")
    folder = tmp_path / "made_up_museum"
    if name in WITHOUT_OBJECTS:
        with pytest.raises(Refused, match="no recorded page holds a list of objects: the response has"):
            write(made(url=url), folder, [recording])
        assert not folder.exists()
        return
    write(made(url=url), folder, [recording])
    licensed(folder)
    assert sum(c.written for c in pull(folder).counts.values()) >= 1


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e9, 1e9) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=15,
)
urls = st.builds(
    "https://{}.com/{}/{}.jpg?{}={}".format, *[st.text("abcdefghijkl-0123456789", min_size=1)] * 5
)


def texts(value):
    if isinstance(value, str):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(below)


@given(document=values | st.lists(urls, max_size=3))
def test_no_word_of_the_original_survives_and_the_structure_does(document):
    made_up = MadeUp([document], seed=1).value(document)
    before = {word for text in texts(document) for word in words(text) if len(word) > 3}
    after = {word for text in texts(made_up) for word in words(text)}
    assert not (before & after) - KEPT - {"https", "http", "html", "example"}
    same_structure(document, made_up)


def same_structure(before, after):
    assert type(before) is type(after)
    if isinstance(before, dict):
        assert len(before) == len(after)
        for one, other in zip(before.values(), after.values(), strict=True):
            same_structure(one, other)
    elif isinstance(before, list):
        for one, other in zip(before, after, strict=True):
            same_structure(one, other)
    elif isinstance(before, str):
        assert bool(words(before)) == bool(words(after))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (
            "https://a.example.com/x/one-2.jpg?id=2",
            r"https://site1\.example\.org/(?!x)[a-z]/[a-z]{3}-\d\.jpg\?(?!id)[a-z]{2}=\d",
        ),
        ("//cdn.example.com/a.mp3", r"//site1\.example\.org/(?!a)[a-z]\.mp3"),
        (
            "http://creativecommons.org/licenses/by/4.0/deed.fr",
            "https://creativecommons.org/licenses/by/4.0/",
        ),
        ("CC BY-NC 4.0", "CC BY-NC 4.0"),
        ("image/jpeg", "image/jpeg"),
        ("audio", "audio"),
        ("2019-05-06", r"20[0-2]\d-[01]\d-[0-2]\d"),
        ("1:02:03", r"\d:[0-5]\d:[0-5]\d"),
        ("2.4 MB", r"\d\.\d MB"),
        ("4000 x 3000", r"(?!4000)\d{4} x (?!3000)\d{4}"),
        ("640x480px", r"(?!640)\d{3}x(?!480)\d{3}px"),
        ("Public Domain Mark 1.0", "Public Domain Mark 1.0"),
        ("Attribution-ShareAlike 4.0 International", "Attribution-ShareAlike 4.0 International"),
        ("2019-05-06T07:08:09.123Z", r"20[0-2]\d-[01]\d-[0-2]\dT0\d:[0-5]\d:[0-5]\d\.(?!123)\d{3}Z"),
        ("27.31849kB", r"\d\d\.\d{5}kB"),
        ("2019-05-06T07:08:09Z", r"20[0-2]\d-[01]\d-[0-2]\dT0\d:[0-5]\d:[0-5]\dZ"),
        ("photos/Bob.JPG", r"(?!photos)[a-z]{6}/(?!Bob)[A-Z][a-z]{2}\.JPG"),
        ("0017", r"00\d\d"),
        ("co8084947", r"(?!co)[a-z]{2}\d{7}"),
        ("a1b2c3d4", r"(?!a.b.c.d)([a-z]\d){4}"),
        ("<p>Hello &amp; World</p>", r"<p>[A-Z][a-z]{4} &amp; [A-Z][a-z]{4}</p>"),
        ("someone@example.com", r"[a-z]+@[a-z]+\.[a-z]+"),
    ],
)
def test_each_kind_of_text_stays_of_its_kind(text, pattern):
    assert re.fullmatch(pattern, MadeUp([text], seed=3).text(text))


def test_equal_values_stay_equal_and_different_numbers_different():
    document = [{"id": n, "page": f"https://x.example.com/works/{n}", "by": "Ada"} for n in range(1, 300)]
    made_up = MadeUp([document])
    found = [made_up.value(item) for item in document]
    assert len({item["id"] for item in found}) == len(document)
    assert all(item["page"].endswith(f"/{item['id']}") for item in found)
    assert len({item["by"] for item in found}) == 1


@pytest.mark.parametrize("media", [("image",), ("image", "audio")])
def test_a_new_provider_passes_the_linter_and_the_formatter(media, tmp_path):
    write(made(media), tmp_path / "x")
    code = (tmp_path / "x" / "provider.py").read_text()
    path = ROOT / "catalog" / "providers" / "made_up_museum" / "provider.py"
    for command in (["check"], ["format", "--check"]):
        subprocess.run(
            [RUFF, *command, "--stdin-filename", path, "-"], check=True, input=code, text=True, cwd=ROOT
        )


@pytest.mark.parametrize(
    ("title", "url", "problem"),
    [
        ("Flickr", "https://example.org", "the provider flickr exists already"),
        ("9 lives", "https://example.org", "which is not a valid name"),
        ("Fine", "example.org/api", "is not the URL of an API"),
        ("x" * 50, "https://example.org", "2 to 40 letters, digits and spaces"),
        ("Image", "https://example.org", "the class Image, which provider files import"),
        ("tokens", "https://example.org", "the class Tokens, which provider files import"),
    ],
)
def test_an_impossible_provider_is_refused(title, url, problem):
    assert problem in present(NewProvider(title, url, ("image",)).problem())


def test_names():
    new = NewProvider("  Musée d'Orsay (Paris) ", "https://example.org", ("image", "audio"))
    assert (new.name, new.class_name) == ("musee_d_orsay_paris", "MuseeDOrsayParis")
    assert [new.catalog_name(m) for m in new.media] == ["museedorsayparis", "museedorsayparis_audio"]


def test_a_recording_holds_no_query(tmp_path):
    write(made(), tmp_path / "x")
    document = orjson.loads((tmp_path / "x" / "recording" / "recording.json").read_bytes())
    assert [i["request"]["url"] for i in document["interactions"]] == [
        "https://api.museum.example.org/v1/items"
    ] * 3


@pytest.mark.parametrize(
    ("rights", "mapped", "expected"),
    [
        (
            {"license": "by-sa", "license_version": "4.0"},
            'raw.get("license"), raw.get("license_version")',
            "by-sa",
        ),
        ({"license": "CC BY", "licenseVersion": 3}, 'raw.get("license"), raw.get("licenseVersion")', "by"),
        (
            {"licence": {"code": "by-nc", "version": "2.0"}},
            'dig(raw, "licence", "code"), dig(raw, "licence", "version")',
            "by-nc",
        ),
        ({"rights": "Public Domain Mark 1.0"}, 'raw.get("rights")', "pdm"),
        ({"copyright": {"text": "CC0"}}, 'dig(raw, "copyright", "text")', "cc0"),
    ],
)
def test_a_license_that_is_a_name_is_found(rights, mapped, expected, tmp_path):
    items = [{**{k: v for k, v in item.items() if k != "rights"}, **rights} for item in ITEMS]
    (tmp_path / "page.json").write_bytes(orjson.dumps({"total": 900, "works": items}))
    folder = tmp_path / "made_up_museum"
    write(made(url=URL), folder, [tmp_path / "page.json"])
    text = " ".join((folder / "provider.py").read_text().split())
    assert f"license_ = license_from_name({mapped})" in text.replace("( ", "(").replace(" )", ")")
    assert pull(folder).counts["image"].written == 3
    record = record_of(Image, provider_in(folder)().record(items[0]))
    assert present(record.license).slug == expected


@pytest.mark.parametrize(
    "rights", [{"license": "by"}, {"version": "4.0", "license": "© us"}, {"title": "CC0"}]
)
def test_a_license_is_not_found_in_other_texts(rights, tmp_path):
    items = [{**{k: v for k, v in item.items() if k != "rights"}, **rights} for item in ITEMS]
    (tmp_path / "page.json").write_bytes(orjson.dumps({"total": 900, "works": items}))
    assert write(made(url=URL), tmp_path / "made_up_museum", [tmp_path / "page.json"]).fields.license is None


def test_width_and_height_in_one_text_are_found(tmp_path):
    items = [{**item, "file": {"src": f"{URL}/{item['id']}.jpg", "size": "4000 x 3000"}} for item in ITEMS]
    (tmp_path / "page.json").write_bytes(orjson.dumps({"total": 900, "works": items}))
    folder = tmp_path / "made_up_museum"
    write(made(url=URL), folder, [tmp_path / "page.json"])
    record = record_of(Image, provider_in(folder)().record(items[0]))
    assert (record.width, record.height, record.filesize) == (4000, 3000, None)
    counts = pull(folder).counts["image"]
    assert (counts.written, counts.cleaned) == (2, {}), "the made-up sizes are sizes, too"


def test_an_offset_grows_by_the_page_size_that_the_address_asks_for(tmp_path):
    (tmp_path / "page.json").write_bytes(orjson.dumps({"numRecords": 900, "works": ITEMS}))
    found = write(made(url=f"{URL}?from=0&size=500"), tmp_path / "x", [tmp_path / "page.json"]).paging
    assert (found.param, found.first, found.step, found.total) == ("from", 0, 500, "numRecords")


def test_no_file_of_a_sound_is_taken_for_a_picture(tmp_path):
    (tmp_path / "page.json").write_bytes(
        orjson.dumps({"works": [{"id": 1, "lic": CC_BY}, {"id": 2, "lic": CC_BY}]})
    )
    write(made(("audio",)), tmp_path / "x", [tmp_path / "page.json"])
    assert '{item_id}.mp3"  # TODO the file' in (tmp_path / "x" / "provider.py").read_text()


def test_an_address_is_the_identifier_if_there_is_no_other(tmp_path):
    items = [{"_id": f"https://museum.example.org/id/{n}", "lic": CC_BY, "kind": "object"} for n in (1, 2)]
    (tmp_path / "page.json").write_bytes(orjson.dumps({"works": items}))
    fields = write(made(), tmp_path / "x", [tmp_path / "page.json"]).fields
    assert fields.foreign_identifier == ("_id",)


def scaffolded(tmp_path, items):
    """The folder of a provider that is made from a page with these items, which runs."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "page.json").write_bytes(orjson.dumps({"total": 900, "works": items}))
    folder = tmp_path / "made_up_museum"
    write(made(url=URL), folder, [tmp_path / "page.json"])
    return folder


def recorded(folder, pages):
    """A recording as `catalog record` writes it: pages are (parameters, headers, more of the body)."""
    folder.mkdir()
    interactions = []
    for number, (params, headers, more) in enumerate(pages):
        (folder / f"body_{number:04}.json").write_bytes(orjson.dumps({"works": ITEMS, **more}))
        answer = {"status": 200, "headers": headers, "body_file": f"body_{number:04}.json"}
        request = {"method": "GET", "url": URL, "params": {"limit": "3", **params}}
        interactions.append({"request": request, "response": answer})
    interactions.sort(key=lambda i: -len(i["request"]["params"]))
    text = orjson.dumps({"provider": "made_up_museum", "interactions": interactions})
    (folder / "recording.json").write_bytes(text)
    return folder


def cursor(following):
    return {"content-length": "99", **({"x-resume-at": following} if following else {})}


RECORDED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "a header": (
        [({}, cursor("m1"), {}), ({"after": "m1"}, cursor("m2"), {}), ({"after": "m2"}, cursor(None), {})],
        {"param": "after", "following_header": "x-resume-at", "following": None},
    ),
    "a link in a header": (
        [
            ({}, {"Link": f'<{URL}?after=m1>; rel="next"'}, {}),
            ({"after": "m1"}, {"Link": f'<{URL}>; rel="first"'}, {}),
        ],
        {"following": None, "pages": None},
    ),
    "numbers in a header": (
        [({}, cursor("99"), {}), ({"after": "99"}, cursor("7"), {}), ({"after": "7"}, cursor(None), {})],
        {"param": "after", "following_header": "x-resume-at"},
    ),
    "a token in the body": (
        [({}, {}, {"next": "m1"}), ({"after": "m1"}, {}, {"next": "m2"})],
        {"param": "after", "following": "next"},
    ),
    "items before the page": (
        [({}, {}, {}), ({"after": "3"}, {}, {}), ({"after": "6"}, {}, {})],
        {"param": "after", "first": 0, "step": 3},
    ),
    "items from the first page on": (
        [({"at": "1"}, {}, {}), ({"at": "4"}, {}, {})],
        {"param": "at", "first": 1, "step": 3},
    ),
    "pages": ([({}, {}, {}), ({"nr": "2"}, {}, {})], {"param": "nr", "first": 1, "step": 1}),
    "pages from 0": ([({"leaf": "0"}, {}, {}), ({"leaf": "1"}, {}, {})], {"param": "leaf", "first": 0}),
    "pages among others": (
        [({"page": "1", "day": "5"}, {}, {}), ({"page": "2", "day": "6"}, {}, {})],
        {"param": "page", "first": 1},
    ),
}


@pytest.mark.parametrize("kind", RECORDED)
def test_the_requests_of_a_recording_tell_how_pages_are_named(kind, tmp_path):
    pages, expected = RECORDED[kind]
    folder = tmp_path / "made_up_museum"
    paging = write(made(url=URL), folder, [recorded(tmp_path / "recorded", pages)]).paging
    assert {name: getattr(paging, name) for name in expected} == expected
    assert paging.doubt is None
    assert pull(folder).counts["image"].written == 2
    declared = provider_in(folder).pages
    assert type(declared).__name__ == paging.kind
    assert {name: getattr(declared, name, None) for name in expected} == expected


def test_a_total_and_the_kinds_of_files_keep_their_names(tmp_path):
    """So that a total, or a choice by the kind of a file, which a person adds later fits the recording."""
    kinds = ["thumb", "master", "Preview", "original"]
    files = [{"kind": kind, "href": f"https://x.example.com/{kind}.jpg"} for kind in kinds]
    items = [{**item, "file": None, "files": files, "title": "thumb of a master"} for item in ITEMS]
    (tmp_path / "page.json").write_bytes(
        orjson.dumps({"envelope": {"stats": {"matches": 40}}, "works": items})
    )
    shape = write(made(url=URL), tmp_path / "x", [tmp_path / "page.json"])
    assert shape.paging.total == "envelope.stats.matches"
    page = orjson.loads((tmp_path / "x" / "recording" / "page_1.json").read_bytes())
    assert page["envelope"]["stats"]["matches"] == 4
    assert [file["kind"] for file in page["works"][0]["files"]] == kinds
    assert not {"thumb", "master"} & words(page["works"][0]["title"])


def test_a_recording_of_one_page_tells_nothing_of_the_others(tmp_path):
    folder = recorded(tmp_path / "recorded", [({"day": "5"}, cursor("m1"), {})])
    paging = write(made(url=URL), tmp_path / "made_up_museum", [folder]).paging
    assert "`page` is assumed" in present(paging.doubt)


WRAPPED = {
    "GraphQL": lambda item: {"cursor": f"c{item['id']}", "node": item},
    "Elasticsearch": lambda item: {"_index": "works", "_score": 1.0, "_source": item},
    "GeoJSON": lambda item: {"type": "Feature", "properties": item},
    "a usual name": lambda item: {"record": item},
    "any name, alone": lambda item: {"vessel": item},
    "twice": lambda item: {"cursor": "c", "node": {"record": item}},
}
TAGGED = [{**item, "views": 7, "tags": [{"name": "harbour"}]} for item in ITEMS]


@pytest.mark.parametrize("kind", WRAPPED)
def test_items_that_are_wrapped_in_a_key_are_mapped_as_others_are(kind, tmp_path):
    items = [WRAPPED[kind](item) for item in TAGGED]
    folder = scaffolded(tmp_path, items)
    counts = pull(folder).counts["image"]
    assert (counts.written, counts.skipped) == (2, {"no license": 1, "no identifier": 1})
    expected = record_of(Image, provider_in(scaffolded(tmp_path / "plain", TAGGED))().record(TAGGED[0]))
    found = record_of(Image, provider_in(folder)().record(items[0]))
    assert found == expected
    assert (found.foreign_identifier, found.tags) == (4711, ["harbour"])
    assert present(found.meta_data)["views"] == 7


def test_what_is_beside_a_wrapped_item_may_identify_it(tmp_path):
    items = [{"_id": f"w{n}", "_source": {k: v for k, v in ITEM.items() if k != "id"}} for n in (1, 2)]
    folder = scaffolded(tmp_path, items)
    assert record_of(Image, provider_in(folder)().record(items[0])).foreign_identifier == "w1"


@pytest.mark.parametrize("keys", [("uri",), ("url", "uri"), ("identifier", "download_id")])
def test_an_address_of_a_file_is_no_identifier_without_a_word(keys, tmp_path):
    """It runs, and the tests of the provider fail until a person has decided."""
    items = [{**dict.fromkeys(keys, f"https://x.example.com/{n}.jpg"), "rights": CC_BY} for n in (1, 2)]
    folder = scaffolded(tmp_path, items)
    text = (folder / "provider.py").read_text()
    assert re.search(r"item_id = .*# TODO an identifier that never changes", text)
    assert pull(folder).counts["image"].written == 2


LARGE, SMALL, MIDDLE = (
    {
        "kind": "master",
        "href": "https://x.example.com/l/{}.jpg",
        "width": 4000,
        "height": 3000,
        "size": "2,345 KB",
    },
    {"kind": "thumb", "href": "https://x.example.com/s/{}.jpg", "width": 200, "height": 150, "size": "14 KB"},
    {"kind": "web", "href": "https://x.example.com/m/{}.jpg", "width": 1024, "height": 768, "size": "210 KB"},
)
NAMED = "kind href".split()


def renditions(number, files, keys):
    def filled(value):
        return value.format(number) if isinstance(value, str) else value

    return [{key: filled(file[key]) for key in keys} for file in files]


@pytest.mark.parametrize("keys", [["href", "width", "height"], ["href", "width"], ["href", "size"], [*NAMED]])
@pytest.mark.parametrize(
    "files",
    [
        [LARGE, SMALL],
        [SMALL, LARGE],
        [SMALL, LARGE, MIDDLE],
        [SMALL, MIDDLE, LARGE],
        [SMALL, MIDDLE, MIDDLE, LARGE, MIDDLE],
    ],
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_largest_of_several_files_is_chosen(keys, files, wrapped, tmp_path):
    named = [{**file, "kind": "original"} if file is LARGE else file for file in files]
    plain = [
        {"id": n, "page": f"https://x.example.com/{n}", "rights": CC_BY, "files": renditions(n, named, keys)}
        for n in (1, 2, 3)
    ]
    items = [{"record": item} for item in plain] if wrapped else plain
    folder = scaffolded(tmp_path, items)
    record = record_of(Image, provider_in(folder)().record(items[0]))
    assert record.url == "https://x.example.com/l/1.jpg"
    assert record.width == (4000 if "width" in keys else None)
    assert record.filesize == (2_345_000 if "size" in keys else None)
    assert pull(folder).counts["image"].written == 3, "the recording has the files that the mapping reads"


def test_files_of_different_numbers_end_with_the_largest(tmp_path):
    lists = ([SMALL, LARGE], [SMALL, MIDDLE, LARGE], [LARGE])
    items = [{"id": n, "lic": CC_BY, "files": renditions(n, f, LARGE)} for n, f in enumerate(lists, 1)]
    items = [{**item, "page": f"https://x.example.com/{item['id']}"} for item in items]
    folder = scaffolded(tmp_path, items)
    found = [record_of(Image, provider_in(folder)().record(item)).url for item in items]
    assert found == [f"https://x.example.com/l/{n}.jpg" for n in (1, 2, 3)]


def test_a_largest_file_without_a_place_is_left_to_a_person(tmp_path):
    lists = ([SMALL, LARGE], [LARGE, SMALL])
    items = [{"id": n, "lic": CC_BY, "files": renditions(n, f, LARGE)} for n, f in enumerate(lists)]
    text = (scaffolded(tmp_path, items) / "provider.py").read_text()
    assert re.search(r"url = .*# TODO the largest is in different places", text)


def test_the_largest_of_files_in_keys_is_chosen(tmp_path):
    files = dict(zip("abc", (SMALL, LARGE, MIDDLE), strict=True))
    items = [
        {
            "id": n,
            "lic": CC_BY,
            "files": {k: renditions(n, [f], ["href", "width"])[0] for k, f in files.items()},
        }
        for n in (1, 2)
    ]
    record = record_of(Image, provider_in(scaffolded(tmp_path, items))().record(items[1]))
    assert record.url == "https://x.example.com/l/2.jpg"


def test_the_guide_shows_what_is_written(tmp_path):
    """All but what its text says was decided or added by hand."""
    guide = (ROOT / "docs" / "adding_a_provider.md").read_text(encoding="utf-8")
    page = guide.partition("Suppose it is\n\n")[2].partition("\n\nThen")[0]
    file = tmp_path / "page.json"
    file.write_text(page)
    assert '"Museum of Clouds" "https://api.clouds.example.org/v1/pictures?per_page=50"' in guide
    url = "https://api.clouds.example.org/v1/pictures?per_page=50"
    write(NewProvider("Museum of Clouds", url, ("image",)), tmp_path / "x", [file])
    written = {line.strip() for line in (tmp_path / "x" / "provider.py").read_text().splitlines()}
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    upper, lower = (
        b.splitlines() for b in blocks if "(Provider):" in b or b.lstrip().startswith("def record(")
    )
    decided = ("category", "popularity", "rate", "meta_data", '"""', "About", "compact,")
    shown = [line.strip() for line in (*upper, *lower) if not line.strip().startswith(decided)]
    assert [line for line in shown if line not in written] == []
    assert len(shown) > 40
    files = {path.name for path in (tmp_path / "x" / "recording").glob("page_*")}
    assert files == {"page_1.json", "page_2.json", "page_3.json"}, "the guide mentions an empty third one"
