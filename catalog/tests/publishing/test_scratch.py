"""Folders of killed tasks do not fill the disk of a worker."""

import os
import tempfile
import time

import pytest

from catalog.publishing.scratch import scratch_folder


@pytest.mark.parametrize(("days", "stays"), [(1, True), (3, False)])
def test_what_a_killed_task_has_left_is_deleted(days, stays, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, other = tmp_path / "catalog-dataset-left", tmp_path / "dataset-of-somebody"
    for folder in (left, other):
        folder.mkdir()
        (folder / "1.parquet").touch()
        moment = time.time() - days * 86_400
        os.utime(folder, (moment, moment))
    with scratch_folder() as own:
        assert own.parent == tmp_path
    assert (left.exists(), other.exists(), own.exists()) == (stays, True, False)
