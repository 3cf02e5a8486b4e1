"""Deleting old logs, in a folder like Airflow's."""

import os
from pathlib import Path

import pytest

from catalog.maintenance.logs import delete, old_logs

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture
def base(tmp_path):
    """Return a folder with logs of 40, 10 and 1 days ago, and a link that leads outside."""
    root = tmp_path / "logs"
    for age, run in ((40, "old"), (10, "middle"), (1, "new")):
        write(root / "dag_id=a" / f"run_id={run}" / "task_id=t" / "attempt=1.log", age, size=1000)
    write(root / "dag_id=b" / "run_id=old" / "task_id=t" / "map_index=3" / "attempt=1.log", 40)
    write(root / "dag_id=b" / "run_id=mixed" / "task_id=t" / "attempt=1.log", 40)
    write(root / "dag_id=b" / "run_id=mixed" / "task_id=u" / "attempt=1.log", 2)
    for component in ("scheduler", "dag_processor"):
        write(root / component / "2023-10-05" / "bundle" / "x.log", 40)
        write(root / component / "2023-11-14" / "bundle" / "x.log", 40)
        (root / component / "latest").symlink_to(root / component / "2023-10-05")
    write(root / "executor_callbacks" / "run" / "1.log", 40)
    write(root / "something" / "else.log", 40)
    write(tmp_path / "outside" / "precious.txt", 400)
    (root / "dag_id=a" / "run_id=link").symlink_to(tmp_path / "outside")
    (root / "dag_id=link").symlink_to(tmp_path / "outside")
    return root


def write(path, age, size=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    for one in (path, path.parent, path.parent.parent, path.parent.parent.parent):
        os.utime(one, (NOW - age * DAY,) * 2)


def names(base, found):
    return {str(f.path.relative_to(base)) for f in found}


def none_running(dag_id, run_id):
    return False


def test_by_age(base):
    assert names(base, old_logs(base, 7, NOW, none_running)) == {
        "dag_id=a/run_id=old",
        "dag_id=a/run_id=middle",
        "dag_id=b/run_id=old",
        "scheduler/2023-10-05",
        "dag_processor/2023-10-05",
        "executor_callbacks/run",
    }
    assert names(base, old_logs(base, 39, NOW, none_running)) >= {"dag_id=a/run_id=old"}
    assert names(base, old_logs(base, 41, NOW, none_running)) == set()


def test_all_but_running_ones(base):
    """-1 means all, except logs of running runs, today's folders and links."""
    asked = []

    def running(dag_id, run_id):
        asked.append((dag_id, run_id))
        return (dag_id, run_id) == ("a", "old")

    found = names(base, old_logs(base, -1, NOW, running))
    assert "dag_id=a/run_id=old" not in found
    assert {"dag_id=a/run_id=new", "dag_id=b/run_id=mixed"} <= found
    assert not [n for n in found if "link" in n or "latest" in n or "2023-11-14" in n or "something" in n]
    assert ("b", "mixed") in asked


def test_deleting(base, tmp_path):
    found = old_logs(base, 7, NOW, none_running)
    assert sum(f.size for f in found) == 2000 + 1 + 1 + 1 + 1
    assert delete(base, found) == found
    assert (tmp_path / "outside" / "precious.txt").exists()
    assert (base / "scheduler" / "2023-11-14").exists()
    assert not (base / "dag_id=a" / "run_id=old").exists()
    assert (base / "dag_id=a" / "run_id=new").exists()
    assert old_logs(base, 7, NOW, none_running) == []


def test_nothing_outside_is_deleted(base, tmp_path):
    from catalog.maintenance.logs import LogFolder

    for path in (tmp_path / "outside", base, base / ".." / "outside", base / "dag_id=a" / "run_id=link"):
        with pytest.raises(ValueError, match="not below"):
            delete(base, [LogFolder(path, 0, 0)])
    assert (tmp_path / "outside" / "precious.txt").exists()


def test_no_folder_at_all(tmp_path):
    assert old_logs(tmp_path / "none", 7, NOW, none_running) == []


def test_a_log_that_cannot_be_read_or_deleted_affects_no_other(base, monkeypatch):
    """Root may read anything, so the errors come from replaced calls."""
    scandir, unlink = os.scandir, os.unlink

    def refuse_scandir(path):
        if "run_id=middle" in str(path) or str(path).endswith("executor_callbacks"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def refuse_unlink(path, *, dir_fd=None):
        if "attempt=1.log" in str(path) and str(Path(f"/proc/self/fd/{dir_fd}").readlink()).endswith(
            "dag_id=a/run_id=old/task_id=t"
        ):
            raise PermissionError(13, "Permission denied", str(path))
        return unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "scandir", refuse_scandir)
    found = old_logs(base, 7, NOW, none_running)
    assert names(base, found) == {
        "dag_id=a/run_id=old",
        "dag_id=b/run_id=old",
        "scheduler/2023-10-05",
        "dag_processor/2023-10-05",
    }
    monkeypatch.setattr(os, "unlink", refuse_unlink)
    assert delete(base, found) == [f for f in found if f.path != base / "dag_id=a" / "run_id=old"]
    assert (base / "dag_id=a" / "run_id=old").exists()
    assert not (base / "dag_id=b" / "run_id=old").exists()


def test_logs_that_are_deleted_meanwhile_are_no_error(base):
    found = old_logs(base, 7, NOW, none_running)
    for folder in found[:2]:
        for path in sorted(folder.path.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.path.rmdir()
    assert delete(base, found) == found
