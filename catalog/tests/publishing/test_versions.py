"""Versions: one state each, published last, and nothing that others own or readers use is touched."""

import contextlib
import hashlib
import json
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.core.files import write_atomically
from catalog.core.licenses import PATH_BY_PAIR
from catalog.database.refusals import Found, accept_all, refuse_all
from catalog.publishing import (
    changes,
    manifest,
    new_version,
    part_states,
    release,
    run_version,
    shared_snapshot,
    storage,
    versions,
)
from catalog.publishing.files import Written
from catalog.publishing.parquet import parquet_writer
from catalog.publishing.paths import POINTER
from catalog.tests.database.media import IMAGES, fill, killed_until_done
from catalog.tests.publishing.publisher import Publisher, table
from catalog.tests.values import present

pytestmark = pytest.mark.database
WORKER = """
import sys
import adbc_driver_postgresql.dbapi, pyarrow.json
from catalog.tests.publishing.publisher import Publisher
publisher = Publisher(sys.argv[1], {root!r}, pages=5)
publisher.begin()
print("begins", flush=True)
publisher.write()
publisher.compare()
publisher.publish()
print("done", flush=True)
"""


class Killed(BaseException):
    """Stands for a kill at some place: nothing after it happens."""


def kill(*_, **__):
    raise Killed


def stop_after(parts):
    """Return a `should_stop` that is true after a number of calls, about one for each part."""
    calls = iter(range(10_000))
    return lambda: next(calls) > 2 * parts


def stages(catalog):
    return dict(catalog.execute("select number, stage from dataset_version order by 1").fetchall())


def whole(catalog, number=1):
    """Return part → files of the parts that are written."""
    rows = catalog.execute(
        "select number, files from dataset_part where version = %s and state is not null", [number]
    ).fetchall()
    return {part: [file["path"] for file in files] for part, files in rows}


def checked(publisher, catalog):
    """Check that the newest version equals the table."""
    assert publisher.rows().keys() == table(catalog).keys()


def test_versions_follow_each_other(catalog, publisher):
    fill(catalog, 50)
    assert [publisher.run(f"run {n}") for n in range(5)] == [1, 2, 3, 4, 5]
    assert publisher.pointer() == 5
    assert publisher.delete_old(keep=2) == [1, 2, 3]
    assert stages(catalog) == {1: "deleted", 2: "deleted", 3: "deleted", 4: "published", 5: "published"}
    assert {name.split("/")[0] for name in publisher.files()} == {"v4", "v5", POINTER}
    assert publisher.delete_old(keep=2) == []
    checked(publisher, catalog)


def test_killed_again_and_again(dsn, catalog, tmp_path):
    fill(catalog, 300)
    root = str(tmp_path / "dataset")
    assert killed_until_done(WORKER.format(root=root), dsn, signal.SIGKILL) > 0
    publisher = Publisher(dsn, root)
    assert publisher.pointer() == 1
    checked(publisher, catalog)
    listed = {f"v1/{file['path']}" for file in publisher.manifest()["files"]}
    assert {name for name in publisher.files() if name.endswith(".parquet")} == listed


def test_a_cleared_task_writes_only_what_is_missing(catalog, publisher):
    fill(catalog, 300)
    publisher.begin()
    with pytest.raises(Interrupted):
        publisher.write(should_stop=stop_after(3))
    before = whole(catalog)
    assert 1 < len(before) < len(part_states.parts_of(catalog, 1))
    publisher.begin()
    publisher.write()
    after = whole(catalog)
    assert {part: after[part] for part in before} == before
    publisher.publish()
    checked(publisher, catalog)


# The snapshot ends with the only session, so the parts are of two states.
def test_parts_whose_rows_have_changed_are_written_anew_in_the_new_state(catalog, publisher):
    fill(catalog, 300)
    publisher.begin()
    with pytest.raises(Interrupted):
        publisher.write(should_stop=stop_after(4))
    before = whole(catalog)
    part, other = sorted(before)[1:3]
    one, two = (
        pq.read_table(publisher.root / "v1" / before[n][0], columns=["identifier"]).to_pylist()[0][
            "identifier"
        ]
        for n in (part, other)
    )
    catalog.execute("update image set title = 'changed' where identifier = %s", [one])
    catalog.execute("delete from image where identifier = %s", [two])
    publisher.write()
    after = whole(catalog)
    assert not set(after[part]) & set(before[part])
    assert not set(after[other]) & set(before[other])
    kept = set(before) - {part, other}
    assert {n: after[n] for n in kept} == {n: before[n] for n in kept}
    publisher.publish()
    checked(publisher, catalog)
    assert publisher.rows()[one]["title"] == "changed"
    assert publisher.manifest()["snapshot"]["number"] == 2
    listed = {f"v1/{file['path']}" for file in publisher.manifest()["files"]}
    assert {name for name in publisher.files() if name.endswith(".parquet")} == listed


@pytest.mark.parametrize(
    "damage",
    [
        "update dataset_part set transaction = 1",  # as after a restore of a dump
        "cluster image using image_identifier_key",  # rows are on other pages
    ],
)
def test_parts_are_not_taken_over_if_nothing_is_known_about_them(catalog, publisher, damage):
    fill(catalog, 300)
    publisher.begin()
    with pytest.raises(Interrupted):
        publisher.write(should_stop=stop_after(4))
    before = {path for files in whole(catalog).values() for path in files if path.startswith("image/")}
    catalog.execute(damage)
    publisher.write()
    after = {path for files in whole(catalog).values() for path in files}
    assert before
    assert not before & after
    publisher.publish()
    checked(publisher, catalog)


def test_sessions_share_one_state(catalog, publisher):
    fill(catalog, 300)
    publisher.begin()
    wanted = table(catalog)
    with (
        publisher.connected() as control,
        publisher.connected() as holder,
        shared_snapshot.shared_snapshot(control, holder, 1) as (state, _),
    ):
        catalog.execute("update image set title = 'later'")
        fill(catalog, 5, providers=("new",))
        publisher.write()  # another session, which begins later
        assert state == 1
    publisher.publish()
    found = publisher.rows()
    assert found.keys() == wanted.keys()
    assert "later" not in {row["title"] for row in found.values()}
    assert publisher.manifest()["snapshot"]["number"] == 1


def test_a_part_of_another_state_is_not_recorded(catalog, publisher):
    fill(catalog, 100)
    publisher.begin()
    with publisher.connected() as control, publisher.connected() as holder:
        with shared_snapshot.shared_snapshot(control, holder, 1) as (state, _):
            pass  # the snapshot ends here, but the session works on, as one does that was declared dead
        with control.transaction():
            part = part_states.parts_of(control, 1)[present(part_states.claim(control, 1, state))]
            catalog.execute("update dataset_version set state = state + 1")
            with pytest.raises(Retry, match="another state"):
                part_states.record(control, 1, state, part, Written([], 0))
    assert whole(catalog) == {}


def test_parts_of_two_states_are_not_published(catalog, publisher):
    fill(catalog, 100)
    publisher.begin()
    publisher.write()
    catalog.execute("update dataset_part set state = state + 1 where number = 1")
    with pytest.raises(Retry, match="another state"):
        publisher.publish()
    assert publisher.pointer() is None


def test_a_snapshot_that_is_lost_too_often(catalog, publisher, monkeypatch):
    fill(catalog, 100)
    publisher.begin()
    monkeypatch.setattr(shared_snapshot, "SNAPSHOTS", 2)
    for _ in range(2):
        with pytest.raises(Interrupted):
            publisher.write(should_stop=lambda: True)
    with pytest.raises(Fatal, match="trigger a new run"):
        publisher.write()


def test_rows_keep_their_pages_while_parts_are_written(dsn, catalog, publisher):
    fill(catalog, 300)
    publisher.begin()
    refused: list[Exception] = []

    def vacuum():
        if not refused:
            with psycopg.connect(dsn, autocommit=True) as other:
                other.execute("set lock_timeout to '50ms'")
                for table_name in ("image", "audio"):
                    with pytest.raises(psycopg.errors.LockNotAvailable) as error:
                        other.execute(f"vacuum full {table_name}")
                    refused.append(error.value)
        return False

    publisher.write(should_stop=vacuum)
    assert len(refused) == 2


def test_ranges_of_rows_that_were_moved_are_written_anew(catalog, publisher):
    fill(catalog, 300)
    publisher.begin()
    publisher.write()
    before = whole(catalog)
    catalog.execute("update dataset_part set file_node = 1 where number = 1 and kind = 'pages'")
    with pytest.raises(Retry, match="was rewritten"):
        publisher.publish()
    publisher.write()
    assert not set(before[1]) & set(whole(catalog)[1])
    publisher.publish()
    checked(publisher, catalog)


def test_providers_that_appear_after_the_plan_are_published(catalog, publisher):
    fill(catalog, 100)
    publisher.least = 1000
    publisher.begin()
    fill(catalog, 5, providers=("new",))
    catalog.execute("insert into image select * from image where false")
    catalog.execute("update image set provider = null where foreign_identifier = 'new1'")
    publisher.write()
    publisher.publish()
    checked(publisher, catalog)


# Trap: killed between the pointer and the table.
@pytest.mark.parametrize("how", ["cleared", "a new run"])
def test_a_version_whose_pointer_was_written_is_published(catalog, publisher, monkeypatch, how):
    fill(catalog, 100)
    publisher.begin()
    publisher.write()
    with monkeypatch.context() as patch:
        patch.setattr(versions, "note_published", kill)
        with pytest.raises(Killed):
            publisher.publish()
    assert (publisher.pointer(), stages(catalog)) == (1, {1: "writing"})
    before = publisher.files()
    if how == "cleared":
        publisher.begin()
        publisher.write()
        publisher.compare()
        assert publisher.publish()["rows"] == {"audio": 0, "image": 200}
        assert publisher.delete_old() == []
    else:
        assert publisher.begin("other").number == 2
        assert publisher.delete_old() == []
    assert stages(catalog)[1] == "published"
    assert publisher.files() == before


def test_killed_before_the_pointer(catalog, publisher, monkeypatch):
    fill(catalog, 100)
    publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    publisher.compare("two")
    with monkeypatch.context() as patch:
        patch.setattr(release, "write_pointer", kill)
        with pytest.raises(Killed):
            publisher.publish("two")
    assert (publisher.pointer(), stages(catalog)) == (1, {1: "published", 2: "writing"})
    assert publisher.publish("two")["version"] == 2
    assert publisher.pointer() == 2


def test_a_run_that_a_newer_one_has_replaced_does_not_go_on(catalog, publisher):
    fill(catalog, 300)
    publisher.begin("one")
    with pytest.raises(Interrupted):
        publisher.write("one", should_stop=stop_after(3))
    assert publisher.run("two") == 2
    for step in (publisher.begin, publisher.write, publisher.publish):
        with pytest.raises(Fatal, match="trigger a new run"):
            step("one")
    assert {name.split("/")[0] for name in publisher.files()} == {"v2", POINTER}
    assert publisher.delete_old() == []
    with (
        publisher.connected() as control,
        publisher.connected() as holder,
        pytest.raises(Refused, match="deleted"),
        shared_snapshot.shared_snapshot(control, holder, 1),
    ):
        pass


# Traps: a database that was restored knows less than the storage.
@pytest.mark.parametrize("known", [True, False], ids=["cleared", "new"])
def test_after_a_restore_nothing_that_is_published_is_touched(catalog, publisher, known):
    fill(catalog, 100)
    publisher.begin("run")
    catalog.execute("create table backup as select * from dataset_version")
    publisher.write("run")
    publisher.publish("run")
    for number in range(2, 5):
        publisher.run(f"run {number}")
    before = publisher.files()
    catalog.execute("delete from dataset_version")
    if known:  # the backup knows version 1 as unfinished, without parts
        catalog.execute("insert into dataset_version select * from backup")
        assert publisher.begin("run").stage == "published"
        assert stages(catalog) == {1: "published"}
    with pytest.raises(Fatal, match="names version 4, which this catalog database has not published"):
        publisher.begin("new")
    assert publisher.begin("new", successor=True).number == 5
    assert publisher.files() == before
    publisher.write("new")
    publisher.compare("new")
    publisher.publish("new", successor=True)
    assert publisher.delete_old(keep=1) == ([1] if known else [])
    checked(publisher, catalog)
    assert all(publisher.files()[name] == before[name] for name in before if name.startswith(("v2", "v4")))


def test_after_a_restore_a_cleared_run_does_not_write_below_the_pointer(catalog, publisher):
    fill(catalog, 100)
    publisher.begin("run")
    pointer = storage.Pointer(3, "v3", "a token", "", "2026-01-01", storage.FORMAT)
    Path(publisher.root.path, "v1").mkdir(parents=True)
    storage.write_pointer(publisher.root, pointer)
    for step in (publisher.begin, publisher.write, publisher.compare, publisher.publish):
        with pytest.raises(Fatal, match="probably restored"):
            step("run")
    assert publisher.begin("new", successor=True).number == 4


@pytest.mark.parametrize(
    "copied",
    ["update dataset_version set token = gen_random_uuid()", "update dataset_part set transaction = 1"],
    ids=["another", "a restored dump"],
)
def test_another_catalog_does_not_publish_to_the_same_folder(catalog, publisher, copied):
    """Readers would get versions of both in turn, and each would delete those of the other."""
    fill(catalog, 100)
    assert [publisher.run(f"run {n}") for n in range(3)] == [1, 2, 3]
    publisher.begin("begun")
    publisher.write("begun")
    publisher.compare("begun")
    before = publisher.files()
    catalog.execute(f"{copied} where {'number' if 'token' in copied else 'version'} < 4")
    for step in (lambda: publisher.begin("new"), lambda: publisher.publish("begun")):
        with pytest.raises(Fatal, match=r'of its own\. If this catalog .*{"successor": true}'):
            step()
    assert publisher.delete_old(keep=1) == []
    assert publisher.files() == before
    publisher.publish("begun", successor=True)
    assert publisher.run("own") == 5
    theirs = {name: data for name, data in before.items() if name.startswith(("v1", "v2", "v3"))}
    if "token" in copied:
        assert publisher.delete_old(keep=1) == [4]
        assert publisher.files().items() >= theirs.items()
    else:  # it is the successor, so they are its own
        assert publisher.delete_old(keep=1) == [1, 2, 3, 4]


def test_without_the_pointer_the_folder_is_still_that_of_another_catalog(catalog, publisher):
    fill(catalog, 100)
    assert [publisher.run(f"run {n}") for n in range(2)] == [1, 2]
    publisher.begin("begun")
    publisher.write("begun")
    Path(publisher.root.path, POINTER).unlink()
    publisher.compare("begun")
    before = publisher.files()
    catalog.execute("delete from dataset_version where number < 3")
    for step in (lambda: publisher.begin("new"), lambda: publisher.publish("begun")):
        with pytest.raises(Fatal, match=r'is gone, and the newest .* version 2, .*{"successor": true}'):
            step()
    assert publisher.files() == before
    with pytest.raises(Retry, match="clear compare_versions, then this task"):
        publisher.publish("begun", successor=True)
    assert publisher.compare("begun") is None
    publisher.publish("begun", successor=True)
    assert publisher.run("own") == 4


def test_the_id_of_a_run_that_was_used_before(catalog, publisher):
    """Airflow makes a deleted scheduled run again with its id."""
    fill(catalog, 100)
    assert publisher.run("run") == 1
    assert publisher.begin("run").number == 1  # a cleared run has nothing to do
    key = min(publisher.rows())
    catalog.execute("delete from image where identifier = %s", [key])
    assert publisher.begin("run", first=True).number == 2
    assert publisher.begin("run").number == 2
    assert publisher.run("run") == 2
    assert key not in publisher.rows()
    checked(publisher, catalog)
    publisher.begin("given up")
    assert publisher.begin("given up", first=True).number == 4
    assert stages(catalog) == {1: "published", 2: "published", 3: "abandoned", 4: "writing"}


def test_a_pointer_that_moves_meanwhile_is_not_replaced(catalog, publisher, monkeypatch):
    fill(catalog, 100)
    publisher.begin()
    publisher.write()
    real = storage.store_bytes

    def overtaken(*given):
        storage.write_pointer(publisher.root, storage.Pointer(7, "v7", "t", "", "2026-01-01", storage.FORMAT))
        return real(*given)

    monkeypatch.setattr(release, "store_bytes", overtaken)
    with pytest.raises(Fatal, match="version 7 by now"):
        publisher.publish()
    assert publisher.pointer() == 7


# Trap: an attempt that was declared dead goes on after another one has published the version.
def test_a_stale_attempt_changes_nothing(catalog, publisher):
    fill(catalog, 100)
    publisher.begin()
    publisher.write()
    with publisher.connected() as connection:
        stale = run_version.working(connection, publisher.root, "run")
        wanted = publisher.publish()
        Path(publisher.root.path, "v1", "image", "later.parquet").write_bytes(b"")
        before = publisher.files()
        catalog.execute("update dataset_part set files = '[]'")
        assert release.publish(connection, publisher.root, stale) == wanted
        catalog.execute("update dataset_version set stage = 'writing', summary = null")
        assert release.publish(connection, publisher.root, stale) == wanted  # as the pointer says
        assert publisher.files() == before
        catalog.execute("update dataset_version set stage = 'abandoned'")
        with pytest.raises(Retry, match="abandoned"):
            release.publish(connection, publisher.root, stale)
        assert publisher.files() == before


def test_the_numbers_of_a_published_version_are_in_its_manifest(catalog, publisher):
    fill(catalog, 100)
    publisher.run("one")
    catalog.execute("delete from image where foreign_identifier like '%7'")
    publisher.run("two")
    wanted = publisher.publish("two")
    assert wanted["changes"]["removed"]["image"] == 20
    catalog.execute("update dataset_version set summary = null")
    catalog.execute("delete from dataset_part")
    assert publisher.publish("two") == wanted
    assert (wanted["version"], wanted["newest"]) == (2, 2)
    before = publisher.publish("one")
    assert (before["version"], before["newest"]) == (1, 2)


@pytest.mark.parametrize("step", ["begin", "write", "publish"])
def test_a_run_does_not_go_on_in_another_folder(dsn, catalog, publisher, tmp_path, step):
    fill(catalog, 100)
    publisher.begin()
    other = Publisher(dsn, tmp_path / "other")
    with pytest.raises(Fatal, match="DATASET_STORAGE was changed"):
        getattr(other, step)()
    assert not other.files()


def test_a_slash_at_the_end_is_the_same_folder(dsn, catalog, tmp_path):
    fill(catalog, 100)
    with_slash, without = Publisher(dsn, f"{tmp_path}/dataset/"), Publisher(dsn, tmp_path / "dataset")
    with_slash.begin("lost")
    without.begin("run")
    assert stages(catalog) == {1: "abandoned", 2: "writing"}
    with_slash.write("run")
    without.publish("run")
    with_slash.run("another")
    assert with_slash.delete_old(keep=1) == [2]
    assert stages(catalog)[2] == "deleted"


def test_versions_of_another_folder_are_not_recorded_as_deleted(catalog, publisher):
    fill(catalog, 100)
    for n in range(3):
        publisher.run(f"run {n}")
    catalog.execute("update dataset_version set root = 'file:///elsewhere' where number = 1")
    assert publisher.delete_old(keep=2) == [1]
    assert stages(catalog)[1] == "published"


def test_a_version_is_written_under_one_setting(catalog, publisher):
    fill(catalog, 10)
    version = publisher.begin()
    versions.require_sensitive(version, include=True)
    with pytest.raises(Fatal, match=f"to false since this run began; {versions.AGAIN}"):
        versions.require_sensitive(version, include=False)
    publisher.write()
    publisher.publish()
    versions.require_sensitive(publisher.begin(), include=False)


# Trap: only what is ours is deleted.
def test_what_is_not_ours_stays(catalog, publisher):
    fill(catalog, 100)
    theirs = {
        "v1/data.csv": b"theirs",
        "v2/manifest.json": b'{"version": 2, "format": "other"}',
        "v3/manifest.json": b"not JSON",
        "v03/a": b"",
        "v4x/a": b"",
        "versions/v5/a": b"",
        "notes.txt": b"",
    }
    for name, data in theirs.items():
        path = Path(publisher.root.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert [publisher.run(f"run {n}") for n in range(3)] == [4, 5, 6]
    assert publisher.delete_old(keep=1) == [4, 5]
    assert {name: data for name, data in publisher.files().items() if name in theirs} == theirs
    assert publisher.run("another") == 7
    assert publisher.delete_old(keep=1) == [6]
    assert {name: data for name, data in publisher.files().items() if name in theirs} == theirs
    checked(publisher, catalog)


def test_a_version_of_the_same_number_in_another_database_stays(catalog, publisher):
    """A database restored to before a version, whose number an abandoned one of ours has."""
    fill(catalog, 100)
    assert [publisher.run(f"run {n}") for n in range(3)] == [1, 2, 3]
    catalog.execute("update dataset_version set stage = 'abandoned', token = gen_random_uuid()")
    assert publisher.delete_old(keep=3) == []
    assert {name.split("/")[0] for name in publisher.files()} == {"v1", "v2", "v3", POINTER}


def test_an_interrupted_deletion_goes_on(catalog, publisher, monkeypatch):
    fill(catalog, 100)
    for n in range(3):
        publisher.run(f"run {n}")
    deleted = []

    def two_files(folder, name):
        deleted.append(name)
        if len(deleted) == 3:
            raise Killed
        Path((folder / name).path).unlink()

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_file", two_files)
        with pytest.raises(Killed):
            publisher.delete_old(keep=1)
    assert publisher.delete_old(keep=1) == [1, 2]
    checked(publisher, catalog)


@pytest.mark.parametrize("content", [b"", b"{}", b"theirs", b'{"version": 1, "folder": "v1"}'])
def test_a_pointer_that_is_not_ours_is_not_replaced(catalog, publisher, content):
    fill(catalog, 10)
    path = Path(publisher.root.path, POINTER)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Fatal, match="not a pointer of this dataset"):
        publisher.begin()
    assert path.read_bytes() == content
    assert stages(catalog) == {}


@pytest.mark.parametrize("altered", [False, True], ids=["gone", "altered"])
def test_a_pointer_whose_version_is_gone(catalog, publisher, altered):
    fill(catalog, 10)
    publisher.run("one")
    publisher.run("two")
    path = Path(publisher.root.path, "v2", "manifest.json")
    data = path.read_bytes()
    path.unlink()
    if altered:  # with the same token
        assert b'"image": 20' in data
        path.write_bytes(data.replace(b'"image": 20', b'"image": 10'))
    publisher.begin("three")
    publisher.write("three")
    with pytest.raises(Fatal, match="Restore the folder"):
        publisher.compare("three")
    before = publisher.files()
    with pytest.raises(Fatal, match="Restore the folder"):
        publisher.delete_old(keep=1)
    assert publisher.files() == before


def test_a_pointer_that_is_gone(catalog, publisher):
    fill(catalog, 10)
    publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    path = Path(publisher.root.path, POINTER)
    path.rename(path.with_name("away"))
    publisher.compare("two")
    with pytest.raises(Fatal, match="is gone, although version 1 was published there"):
        publisher.publish("two")
    assert publisher.pointer() is None
    path.with_name("away").rename(path)
    publisher.compare("two")
    assert publisher.publish("two")["before"] == {"audio": 0, "image": 20}
    path.unlink()
    assert publisher.run("three", judge=accept_all) == 3
    checked(publisher, catalog)


@pytest.mark.parametrize("altered", [None, "gone", "altered"])
def test_what_else_is_lost_with_the_pointer_is_refused_as_well(catalog, publisher, altered):
    """The database knows what the version before had, also if its manifest is gone or has other numbers."""
    fill(catalog, 40)
    publisher.run("one")
    Path(publisher.root.path, POINTER).unlink()
    manifest = Path(publisher.root.path, "v1", "manifest.json")
    data = manifest.read_bytes()
    if altered:
        manifest.unlink()
    if altered == "altered":
        assert b'"image": 80' in data
        manifest.write_bytes(data.replace(b'"image": 80', b'"image": 20'))
    reported: list[Found] = []

    def judge(found):
        reported.append(found)
        return refuse_all(found)

    for run, left in (("two", "%(1|2|3)"), ("three", "%1")):
        catalog.execute("delete from image where not foreign_identifier similar to %s", [left])
        publisher.begin(run)
        publisher.write(run)
        publisher.compare(run)
        with pytest.raises(Fatal, match=r"latest\.json is gone, although version 1 .* 80 are published"):
            publisher.publish(run, judge=judge)
    kinds = [found["dataset, image: records"] for found in reported]
    assert [(each[0].before, each[0].remains) for each in kinds] == [(80, 24), (80, 8)]
    assert publisher.pointer() is None
    publisher.publish("three", judge=accept_all)
    Path(publisher.root.path, POINTER).unlink()
    publisher.begin("four")
    publisher.write("four")
    publisher.compare("four")
    with pytest.raises(Fatal, match=r"latest\.json is gone, although version 3"):
        publisher.publish("four", judge=judge)
    pointers = [found["dataset, all: pointer"][0].subject for found in reported]
    assert pointers[0] == pointers[1] != pointers[2]  # who has accepted one has seen nothing of the next


def test_without_a_pointer_the_settings_of_the_last_version_count(catalog, publisher):
    """They have the decisions of moderators without which the next version is refused."""
    fill(catalog, 10)
    publisher.settings = {**publisher.settings, versions.DECISIONS: {}, "of": "one"}
    publisher.run("one")
    publisher.settings = {**publisher.settings, "of": "two"}
    publisher.begin("two")  # it is not published
    for _ in range(2):
        with publisher.connected() as connection:
            assert versions.newest_settings(connection, publisher.root)["of"] == "one"
        Path(publisher.root.path, POINTER).unlink(missing_ok=True)


# Trap: nothing, or far less than before.
def test_an_empty_catalog_is_not_published(catalog, publisher):
    publisher.begin()
    publisher.write()
    with pytest.raises(Fatal, match="no records to publish"):
        publisher.publish()
    assert publisher.pointer() is None
    fill(catalog, 10)
    publisher.run("two")
    catalog.execute("delete from image")
    publisher.begin("three")
    publisher.write("three")
    publisher.compare("three")
    with pytest.raises(Fatal, match="no records to publish"):
        publisher.publish("three", judge=accept_all)
    assert publisher.pointer() == 2


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("delete from image where foreign_identifier like '%7'", None),
        ("delete from image where foreign_identifier similar to '%(7|8)'", "2,400 records, 3,000 are"),
        ("delete from image where provider = 'small'", "0 records of small, 1,000 are published"),
        ("update image set identifier = gen_random_uuid()", "3,000 of 3,000 published records are gone"),
    ],
)
def test_a_loss_is_refused_and_accepted(catalog, publisher, loss, message):
    if message and "small" in message:
        fill(catalog, 10_000, providers=("flickr",))
        fill(catalog, 1000, providers=("small",))
    else:
        fill(catalog, 3000, providers=("flickr",))
    publisher.least, publisher.pages = 10_000, 100_000
    publisher.run("one")
    catalog.execute(loss)
    publisher.begin("two")
    publisher.write("two")
    publisher.compare("two")
    if message:
        with pytest.raises(Fatal, match=message):
            publisher.publish("two")
        assert publisher.pointer() == 1
        checkpoint = publisher.files()
        assert "v2/manifest.json" not in checkpoint
    publisher.publish("two", judge=accept_all if message else refuse_all)
    assert publisher.pointer() == 2
    checked(publisher, catalog)


def test_a_file_that_is_lost_is_written_again(catalog, publisher):
    fill(catalog, 100)
    publisher.begin()
    publisher.write()
    lost = Path(publisher.root.path, "v1", next(files[0] for files in whole(catalog).values() if files))
    lost.write_bytes(lost.read_bytes()[:-1])
    with pytest.raises(Retry, match="clear write_parts"):
        publisher.publish()
    publisher.write()
    publisher.publish()
    checked(publisher, catalog)


def test_the_change_set(catalog, publisher):
    fill(catalog, 400)
    publisher.run("one")
    keys = [key for (key,) in catalog.execute("select identifier::text from image order by 1")]
    catalog.execute("update image set updated_on = now() where identifier = any(%s)", [keys[:7]])
    catalog.execute("delete from image where identifier = any(%s)", [keys[10:15]])
    catalog.execute("update image set removed_from_source = true where identifier = %s", [keys[20]])
    fill(catalog, 3, providers=("new",))
    publisher.run("two")
    made = publisher.manifest()["changes"]
    assert made["against"] == 1
    assert (made["added"], made["changed"], made["removed"]) == (
        {"audio": 0, "image": 3},
        {"audio": 0, "image": 7},
        {"audio": 0, "image": 6},
    )
    found = pq.read_table(publisher.root / "v2" / made["files"]["image"]["path"]).to_pylist()
    by_kind = {
        kind: {r["identifier"] for r in found if r["change"] == kind} for kind in ("changed", "removed")
    }
    assert by_kind == {"changed": set(keys[:7]), "removed": {*keys[10:15], keys[20]}}
    assert len(found) == 16


@pytest.mark.parametrize("bucket_rows", [1, 100, 10**6])
def test_the_change_set_does_not_depend_on_buckets(catalog, publisher, bucket_rows, monkeypatch):
    fill(catalog, 100)
    publisher.run("one")
    before = set(table(catalog))
    catalog.execute("delete from image where foreign_identifier like '%3'")
    fill(catalog, 30, providers=("new",))
    publisher.begin("two")
    publisher.write("two")
    monkeypatch.setattr(changes.compare, "__defaults__", (bucket_rows,))
    found = publisher.compare("two")
    path = publisher.root / "v2" / found.files["image"].path
    rows = {row["identifier"]: row["change"] for row in pq.read_table(path).to_pylist()}
    now = set(table(catalog))
    assert rows == dict.fromkeys(now - before, "added") | dict.fromkeys(before - now, "removed")


def test_a_change_set_of_another_state_is_not_published(catalog, publisher):
    fill(catalog, 100)
    publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    with pytest.raises(Retry, match="change set"):
        publisher.publish("two")
    publisher.compare("two")
    catalog.execute("""update dataset_version set changes = changes || '{"state": 0}' where number = 2""")
    with pytest.raises(Retry, match="change set"):
        publisher.publish("two")
    publisher.compare("two")
    publisher.publish("two")


def half_of_its_rows(path):
    rows = pq.ParquetFile(path).read()
    pq.write_table(rows.slice(0, rows.num_rows // 2), path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = (Path.unlink, half_of_its_rows, cut, zeroed, a_folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_lost_file_of_the_version_before(catalog, publisher, damage):
    fill(catalog, 100)
    publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    lost = next(files[0] for files in whole(catalog).values() if files)
    damage(Path(publisher.root.path, "v1", lost))
    publisher.compare("two")
    summary = publisher.publish("two")
    [changed] = [m for m in ("image", "audio") if not lost.startswith(m)]  # the other one is known
    assert summary["changes"] == {kind: {changed: 0} for kind in ("added", "changed", "removed")}
    assert (summary["lost"], publisher.manifest()["changes"]["lost"]) == (lost, lost)
    assert list(publisher.manifest()["changes"]["files"]) == [changed]
    assert "There is none of the other media type" in (publisher.root / "v2" / "README.md").read_text()
    checked(publisher, catalog)
    publisher.run("three")
    assert not publisher.manifest()["changes"]["lost"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_lost_files_of_the_new_version_are_written_again_as_the_message_says(catalog, publisher, damage):
    fill(catalog, 100, providers=("flickr", "another"))
    publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    before = whole(catalog, 2)
    lost = {part: files[0] for part, files in before.items() if files}
    part, other, *_ = sorted(lost)
    for one in (part, other):
        damage(Path(publisher.root.path, "v2", lost[one]))
    with pytest.raises(Retry, match=r"clear write_parts with its downstream tasks") as error:
        publisher.compare("two")
    assert f": {lost[part]}, {lost[other]};" in str(error.value)
    with pytest.raises(Retry, match=r"2 of \d+ parts .* clear write_parts with its downstream tasks"):
        publisher.compare("two")  # Airflow's next attempt
    publisher.begin("two")
    publisher.write("two")
    after = whole(catalog, 2)
    assert {one for one in before if after[one] != before[one]} == {part, other}
    publisher.compare("two")
    assert publisher.publish("two")["changes"]["added"] == {"audio": 0, "image": 0}
    checked(publisher, catalog)


@pytest.mark.parametrize(
    ("media_type", "found"),
    [
        ("image", ["audio: 2,000 of 2,000 published", "image: it is not known how many of 2,000 published"]),
        ("audio", ["audio: it is not known how many of 2,000 published"]),
    ],
)
def test_what_a_lost_file_hides_is_refused(catalog, publisher, media_type, found):
    """A lost file of the version before hides that all records of its media type are other ones."""
    fill(catalog, 2000, providers=("flickr",))
    catalog.execute(IMAGES.replace("into image", "into audio").format(rows=2000, providers="'jamendo'"))
    publisher.run("one")
    lost = next(f["path"] for f in publisher.manifest()["files"] if f["media_type"] == media_type)
    Path(publisher.root.path, "v1", lost).unlink()
    catalog.execute("update audio set identifier = gen_random_uuid()")
    publisher.begin("two")
    publisher.write("two")
    publisher.compare("two")
    with pytest.raises(Fatal, match="; ".join(f"{text} records are gone.*" for text in found)) as error:
        publisher.publish("two")
    assert str(error.value).count("published records") == len(found)
    publisher.publish("two", judge=accept_all)
    checked(publisher, catalog)


@pytest.mark.parametrize("name", ["manifest.json", "croissant.json", "README.md", "latest.json"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_what_the_storage_does_not_keep_is_not_published(catalog, publisher, monkeypatch, name, first):
    fill(catalog, 10)
    if not first:
        publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    publisher.compare("two")
    before, real = publisher.pointer(), write_atomically
    kept = iter(range(1))

    def half(path, data, mode=0o666):
        cut = path.name == name and next(kept, None) is not None
        real(path, data[: len(data) // 2] if cut else data, mode)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_atomically", half)
        with pytest.raises(Retry, match=f"the storage has confirmed .*{name}"):
            publisher.publish("two")
    assert publisher.pointer() == before
    publisher.publish("two")
    assert publisher.pointer() == (1 if first else 2)
    checked(publisher, catalog)


@pytest.mark.parametrize("name", ["manifest.json", "croissant.json", "README.md"])
def test_what_describes_the_newest_version_is_written_again(catalog, publisher, name):
    fill(catalog, 100)
    publisher.run("one")
    fill(catalog, 3, providers=("new",))
    publisher.run("two")
    before = publisher.files()
    Path(publisher.root.path, "v2", name).write_bytes(before[f"v2/{name}"][:50])
    publisher.publish("two")
    assert publisher.files() == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_lost_files_of_the_first_version_are_written_again(catalog, publisher, damage):
    fill(catalog, 100)
    publisher.begin()
    publisher.write()
    damage(Path(publisher.root.path, "v1", next(files[0] for files in whole(catalog).values() if files)))
    with pytest.raises(Retry, match="clear write_parts with its downstream tasks"):
        publisher.compare()
    publisher.write()
    publisher.compare()
    publisher.publish()
    checked(publisher, catalog)


def test_a_file_that_cannot_be_read_now_is_not_lost(catalog, publisher):
    fill(catalog, 100)
    publisher.run("one")
    publisher.begin("two")
    publisher.write("two")
    path = Path(publisher.root.path, "v1", next(files[0] for files in whole(catalog).values() if files))
    data = path.read_bytes()
    path.unlink()
    path.symlink_to(path)  # opening it fails, although it is there
    with pytest.raises(Retry, match=rf"{path.name} could not be read .*delete the file"):
        publisher.compare("two")
    path.unlink()
    path.write_bytes(data)
    assert not publisher.compare("two").lost


def test_a_change_set_that_contradicts_itself_is_refused(catalog, publisher, monkeypatch):
    fill(catalog, 100)
    publisher.run("one")
    fill(catalog, 3, providers=("new",))
    publisher.begin("two")
    publisher.write("two")
    real = changes._differences
    with monkeypatch.context() as patch:
        patch.setattr(changes, "_differences", lambda *given: list(real(*given))[1:])
        with pytest.raises(Fatal, match=r"image had 200 records .* 0 were added and 0 removed, .* has 203"):
            publisher.compare("two")
    assert publisher.compare("two").added["image"] == 3


def test_only_a_url_of_its_version_is_that_of_a_license():
    found = {pair: manifest._url_of(*pair) for pair in PATH_BY_PAIR}
    assert all(url is None for (_, version), url in found.items() if version == "2.1")
    urls = {pair: url for pair, url in found.items() if pair[1] != "2.1"}
    assert None not in urls.values()
    assert len(set(urls.values())) == len(urls)


def test_the_manifest_and_the_card(catalog, publisher):
    fill(catalog, 30, providers=("flickr", "a|b"))
    catalog.execute("update image set license = 'cc0', license_version = '1.0' where provider = 'flickr'")
    catalog.execute(
        sql.SQL("alter database {} set timezone = 'Asia/Kolkata'").format(sql.Identifier(catalog.info.dbname))
    )
    publisher.run()
    made = publisher.manifest()
    assert [(one["source"], one["license"], one["license_url"], one["rows"]) for one in made["licenses"]] == [
        ("a|b", "by", "https://creativecommons.org/licenses/by/4.0/", 30),
        ("flickr", "cc0", "https://creativecommons.org/publicdomain/zero/1.0/", 30),
    ]
    card = (publisher.root / "v1" / "README.md").read_text()
    assert "| image | a\\|b | by 4.0 | 30 |" in card
    assert "[cc0 1.0](https://creativecommons.org/publicdomain/zero/1.0/) | 30 |" in card
    assert made["snapshot"]["taken_on"].endswith("+00:00")
    pointer = json.loads((publisher.root / POINTER).read_text())
    data = (publisher.root / "v1" / "manifest.json").read_bytes()
    assert pointer["manifest_sha256"] == hashlib.sha256(data).hexdigest()


def test_a_password_is_passed_on(dsn):
    from catalog.publishing.arrow_session import conninfo_of

    with psycopg.connect(dsn) as connection:
        given = psycopg.conninfo.conninfo_to_dict(conninfo_of(connection))
    assert given["password"] == psycopg.conninfo.conninfo_to_dict(dsn)["password"]


def folders(publisher):
    return {name.split("/")[0] for name in publisher.files() if "/" in name}


@pytest.mark.parametrize("step", ["write", "compare"])
def test_a_folder_to_which_a_session_still_writes_stays(catalog, publisher, monkeypatch, step):
    """A version that a newer run has replaced is deleted when it is at rest."""
    fill(catalog, 300)
    publisher.run("zero")
    publisher.begin("one")
    during: list[set[str]] = []

    def replaced(*arguments, **options):
        if not during and "v2" in folders(publisher):
            publisher.begin("two")
            during.append(folders(publisher))
        return real(*arguments, **options) if real else False

    real = None
    if step == "write":
        with pytest.raises((Fatal, Retry, Refused)):
            publisher.write("one", should_stop=replaced)
    else:
        publisher.write("one")
        real = changes.compare
        monkeypatch.setattr(changes, "compare", replaced)
        with pytest.raises(Retry, match="has another state than when the comparison began"):
            publisher.compare("one")
        monkeypatch.undo()
    assert "v2" in during[0]
    assert stages(catalog)[2] == "abandoned"
    publisher.begin("three")
    assert folders(publisher) == {"v1"}
    assert stages(catalog)[2] == "deleted"
    for again in (publisher.write, publisher.compare):
        with pytest.raises(Fatal, match="version 2 of this run is deleted, because a newer run began"):
            again("one")


@pytest.mark.parametrize("stage", ["published", "abandoned"])
def test_a_folder_with_a_manifest_stays(catalog, publisher, stage):
    """Readers may use it, whatever a database knows that was restored."""
    fill(catalog, 50)
    publisher.run("one")
    catalog.execute("update dataset_version set stage = %s where number = 1", [stage])
    Path(publisher.root.path, POINTER).unlink()
    publisher.begin("two")
    assert folders(publisher) == {"v1"}


def test_a_folder_that_the_pointer_names_stays(catalog, publisher):
    """Its manifest is lost, and the tables do not say that it was published: it can still be restored."""
    fill(catalog, 50)
    publisher.run("one")
    catalog.execute("update dataset_version set stage = 'abandoned' where number = 1")
    Path(publisher.root.path, "v1", "manifest.json").unlink()
    with contextlib.suppress(Fatal):
        publisher.begin("two")
    assert "v1" in folders(publisher)


def test_a_folder_that_cannot_be_deleted_stops_no_version(catalog, publisher, monkeypatch, caplog):
    fill(catalog, 50)
    publisher.begin("one")
    publisher.write("one")
    catalog.execute("update dataset_version set stage = 'abandoned'")

    def forbidden(root, number):
        raise PermissionError("no right to delete")

    with monkeypatch.context() as patch:
        patch.setattr(new_version, "delete_version", forbidden)
        publisher.begin("two")
    assert "version 1, which was given up, could not be deleted: no right to delete" in caplog.text
    assert stages(catalog) == {1: "abandoned", 2: "writing"}
    publisher.begin("three")
    assert "v1" not in folders(publisher)


@pytest.mark.parametrize("pattern", ["image/*/*.parquet", "changes/*", "manifest.json"])
def test_a_cleared_run_does_not_report_files_that_are_lost(catalog, publisher, pattern):
    fill(catalog, 100)
    publisher.run("one")
    publisher.run("two")
    numbers = publisher.publish("two")
    lost = next(Path(publisher.root.path, "v2").glob(pattern))
    lost.unlink()
    assert publisher.publish("one")["version"] == 1
    if lost.name == "manifest.json":
        catalog.execute(
            "update dataset_version set settings = settings || '{\"more\": 1}'"
        )  # a later release
        with pytest.raises(Fatal, match="names version 2, whose manifest is missing or is another one"):
            publisher.publish("two")
        return
    with pytest.raises(Fatal, match=rf"version 2 was published, but files .*{lost.name}. Restore them"):
        publisher.publish("two")
    publisher.run("three")
    assert publisher.publish("three")["rows"] == numbers["rows"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs privileges")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # failed writers keep their files open


def test_a_full_disk(dsn, catalog, small_disk):
    """The error says what to do, and the next run begins with what was left deleted."""
    fill(catalog, 300)
    publisher = Publisher(dsn, small_disk)
    publisher.begin("one")
    room = small_disk / "other"
    room.write_bytes(bytes(shutil.disk_usage(small_disk).free - 30_000))
    with pytest.raises(
        Retry, match=r"disk of .*/v1 is full: [0-9.]+ \w+ are free, and this folder holds [0-9.]+ kB"
    ):
        publisher.write("one")
    assert folders(publisher) == {"v1"}
    publisher.begin("two")
    assert folders(publisher) == set()
    room.unlink()
    assert publisher.run("two") == 2


def test_a_full_disk_for_the_pointer(small_disk):
    folder = small_disk / "v1"
    folder.mkdir()
    (folder / "part").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    pointer = storage.Pointer(1, "v1", "token", "0" * 64, "2026-01-01", storage.FORMAT)
    with pytest.raises(Retry, match=r"disk of .*/v1 is full: .* clear the failed task"):
        storage.write_pointer(UPath(small_disk), pointer)
    assert not (small_disk / POINTER).exists()


def test_files_are_checked_without_room_for_copies(catalog, publisher, small_disk, monkeypatch):
    fill(catalog, 300)
    publisher.begin("one")
    publisher.write("one")
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    assert publisher.compare("one") is None


def test_a_full_disk_for_files_that_are_not_complete(catalog, publisher, small_disk, monkeypatch):
    fill(catalog, 300)
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    publisher.begin("one")
    room = small_disk / "other"
    room.write_bytes(bytes(shutil.disk_usage(small_disk).free - 9_000))
    with pytest.raises(Retry, match=r"disk of .*/catalog-dataset-.* is full: .* let .* TMPDIR name a folder"):
        publisher.write("one")
    room.unlink()
    assert publisher.run("one") == 1


def test_a_file_that_is_abandoned_on_a_full_disk(small_disk):
    """Its writer is deleted while the disk is full, which is no error of its own."""
    writer = parquet_writer(small_disk / "part.parquet", pa.schema({"title": pa.string()}))
    for _ in range(300):  # row groups, whose places the end of the file holds
        writer.write_table(pa.table({"title": ["x"]}))
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    writer.__del__()


def test_a_disk_that_is_read_only(dsn, catalog, small_disk):
    fill(catalog, 30)
    publisher = Publisher(dsn, small_disk)
    publisher.begin("one")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(Retry, match="its file system is read-only"):
        publisher.write("one")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert publisher.run("one") == 1
