"""A new provider works from the start, and `./just expect` says why items are not written."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from upath import UPath

from catalog.core.media import MediaType
from catalog.ingestion.assemble import client_for
from catalog.ingestion.parts import Parts
from catalog.ingestion.pull import Pull
from catalog.ingestion.replay import ReplayAdapter
from catalog.mutants.trial import copy_tree
from catalog.provider_api import Provider
from catalog.scaffold.__main__ import NewProvider, source, write
from catalog.tests.values import present

RUFF = Path(sys.executable).parent / "ruff"
ROOT = Path(__file__).parents[3]


def made(media: tuple[MediaType, ...]) -> NewProvider:
    return NewProvider("Made-Up Museum", "https://api.museum.example.org/v1/items?key=x", media)


def provider_in(code: str) -> type[Provider]:
    """Return the provider that a module defines."""
    space: dict[str, object] = {"__name__": "made_up"}
    exec(compile(code, "provider.py", "exec"), space)
    return next(
        c for c in space.values() if isinstance(c, type) and issubclass(c, Provider) and c is not Provider
    )


@pytest.mark.parametrize("media", [("image",), ("audio",), ("image", "audio"), ("audio", "image")])
def test_a_new_provider_replays_its_recording_and_lists_what_remains_to_be_done(media, tmp_path):
    files = write(made(media), tmp_path / "made_up_museum")
    assert {p.name for p in files} == {
        "__init__.py",
        "provider.py",
        "recording.json",
        "page_1.json",
        "page_2.json",
        "page_3.json",
    }
    cls = provider_in((tmp_path / "made_up_museum" / "provider.py").read_text())
    assert (cls.name, cls.__name__, list(cls.catalog_names)) == (
        "made_up_museum",
        "MadeUpMuseum",
        list(media),
    )
    client = client_for(cls, None, replay=ReplayAdapter(tmp_path / "made_up_museum" / "recording"))
    manifest = Pull(
        cls(),
        client,
        Parts(UPath(tmp_path / "out"), cls.name, datetime(2024, 1, 1, tzinfo=UTC), None),
        run_id="test",
    ).run()
    written = {m: c.written for m, c in manifest.counts.items() if c.written}
    assert written == ({media[0]: 3} if len(media) == 1 else {media[0]: 2, media[1]: 1})
    assert manifest.counts[media[0]].skipped == {"no identifier": 1}
    assert source(made(media)).count("TODO") >= 5


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
    suite = run(
        tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "catalog/tests/providers", "-k", "made_up_museum"
    )
    assert suite.returncode == 0, suite.stdout
    assert suite.stdout.count(".") > 10

    file = tmp_path / "catalog" / "providers" / "made_up_museum" / "provider.py"
    file.write_text(file.read_text().replace('raw.get("page_url")', 'raw["vessel"]'))
    expected = run(tmp_path, "catalog.scaffold.rows", "made_up_museum")
    assert expected.returncode == 1
    said = " ".join(expected.stderr.split())
    assert "0 of 4 image items written; left out: 4 mapping failed: KeyError: 'vessel' (provider.py:" in said


@pytest.mark.parametrize("media", [("image",), ("image", "audio")])
def test_a_new_provider_passes_the_linter_and_the_formatter(media):
    code, path = source(made(media)), ROOT / "catalog" / "providers" / "made_up_museum" / "provider.py"
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
    ],
)
def test_an_impossible_provider_is_refused(title, url, problem):
    assert problem in present(NewProvider(title, url, ("image",)).problem())


def test_names():
    new = NewProvider("  Musée d'Orsay (Paris) ", "https://example.org", ("image", "audio"))
    assert (new.name, new.class_name) == ("musee_d_orsay_paris", "MuseeDOrsayParis")
    assert [new.catalog_name(m) for m in new.media] == ["museedorsayparis", "museedorsayparis_audio"]


def test_a_recording_holds_no_query(tmp_path):
    write(made(("image",)), tmp_path / "x")
    document = orjson.loads((tmp_path / "x" / "recording" / "recording.json").read_bytes())
    assert [i["request"]["url"] for i in document["interactions"]] == [
        "https://api.museum.example.org/v1/items"
    ] * 3
