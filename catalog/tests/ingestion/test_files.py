"""Files that are written completely or not at all."""

import os
import stat
from pathlib import Path

import pytest
from upath import UPath

from catalog.core.files import is_local, write_atomically


@pytest.mark.parametrize("kind", [UPath, lambda path: UPath(f"file://{path}"), lambda path: path])
def test_a_file_is_written_and_replaced(tmp_path, kind):
    path = tmp_path / "new" / "a file"
    for data in (b"one", b"", b"two"):
        write_atomically(kind(path), data)
        assert path.read_bytes() == data
        assert list(path.parent.iterdir()) == [path]


def test_an_object_store(tmp_path):
    path = UPath("memory://bucket/a")
    assert not is_local(path)
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """After a power loss, the name would stand for an empty file."""
    path, synced = tmp_path / "a", []

    def fsync(number):
        synced.append(
            (str(Path(f"/proc/self/fd/{number}").readlink()), os.fstat(number).st_size, path.exists())
        )

    monkeypatch.setattr("catalog.core.files.os.fsync", fsync)
    write_atomically(path, b"four")
    assert synced == [(f"{path}.partial", 4, False)]


def test_a_secret_file_is_never_readable_by_others(tmp_path):
    """Neither the old one nor what a killed process left decides the mode."""
    path = tmp_path / "secret"
    for left in (path, path.with_name("secret.partial")):
        left.write_text("old")
        left.chmod(0o644)
    write_atomically(path, b"new", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"new"


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("catalog.core.files.os.fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
