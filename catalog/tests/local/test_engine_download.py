"""The download of the search engine."""

import contextlib
import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from catalog.local import search

CONTENT = b"made up " * 1000


@pytest.fixture
def maven(monkeypatch, tmp_path):
    """A repository whose downloads wait until all processes have asked for one, or a second has passed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file, downloads, met = tmp_path / "artifact.zip", list[str](), threading.Barrier(3)

    def resolve():
        if not file.exists():
            downloads.append("begun")
            file.write_bytes(CONTENT[:100])
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(1)
            file.write_bytes(CONTENT)
        return str(file)

    resolved = SimpleNamespace(resolve=resolve)
    version = SimpleNamespace(artifact=lambda packaging: resolved)
    project = SimpleNamespace(at_version=lambda version_: version)
    context = SimpleNamespace(project=lambda group, name: project)
    monkeypatch.setattr("jgo.maven.MavenContext", lambda timeout: context)
    return downloads


def test_processes_that_start_at_once_download_it_once(maven):
    """The cache serves a download that another process has begun as whole."""
    artifact = search._Artifact("org.example", "a", "1", "zip", hashlib.sha256(CONTENT).hexdigest())
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(search._fetch(artifact))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [path.read_bytes() for path in found] == [CONTENT] * 3
    assert maven == ["begun"]


def test_an_interrupted_download_is_repeated(maven, tmp_path):
    (tmp_path / "artifact.zip").write_bytes(CONTENT[:10])
    artifact = search._Artifact("org.example", "a", "1", "zip", hashlib.sha256(CONTENT).hexdigest())
    assert search._fetch(artifact).read_bytes() == CONTENT
