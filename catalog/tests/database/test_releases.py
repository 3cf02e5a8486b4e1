"""Two releases on one database, in any order, while work is running.

`test_old_rows.py` shows that the operations of this release work on the schema of the next one.
"""

import threading

import psycopg
import pytest

from catalog.database import schema
from catalog.tests.conftest import database_of_its_own
from catalog.tests.database.next_release import HALF_WAY, REVISION, NextRelease
from catalog.tests.database.test_schema import upgrade_to
from catalog.tests.loading.loader import Loader, image
from catalog.tests.waiting import until

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def following(tmp_path_factory):
    return NextRelease(tmp_path_factory.mktemp("next"))


def revision(dsn):
    return schema.status(dsn).current


def test_forward_back_and_forward_again(dsn, following, tmp_path):
    """This release loads before, during and after the next one's upgrade; equal rows stay unchanged."""
    load = Loader(dsn, tmp_path)
    records = [image(str(n)) for n in range(20)]
    assert load(records).inserted == 20
    _, said = following.run("db", "status", dsn=dsn)
    assert f"newest {REVISION}, pending: {REVISION}" in said
    assert following.run("db", "upgrade", dsn=dsn)[0] == 0
    assert load(records).unchanged == 20
    assert load([image(str(n)) for n in range(20, 25)]).inserted == 5
    back = schema.upgrade(dsn)  # of this release
    assert (back.current, back.pending, back.newer) == (REVISION, (), True)
    assert load(records).unchanged == 20
    assert following.run("db", "upgrade", dsn=dsn)[0] == 0
    _, said = following.run("db", "status", dsn=dsn)
    assert f"revision {REVISION}, newest {REVISION}, pending: nothing" in said
    assert load(records).unchanged == 20


def test_code_before_its_schema(dsn, following):
    """Each operation of the next release first checks the schema and refuses the older one."""
    restoration = ("db", "restore", "--table", "image", "--where", "WHERE true")
    status, said = following.run(*restoration, dsn=dsn)
    assert status == 1
    assert (
        f"is at revision {revision(dsn)}; this release needs {REVISION}. Upgrade it with `catalog db upgrade`"
        in said
    )
    assert said.startswith("catalog: ")
    assert following.run("db", "upgrade", dsn=dsn)[0] == 0
    status, said = following.run(*restoration, dsn=dsn)
    assert (status, "no record of deleted_image matches" in said) == (1, True)


def test_an_upgrade_from_an_old_schema_in_one_step(server, following):
    dsn = database_of_its_own(server, "template0")
    upgrade_to(dsn, "0002")
    assert following.run("db", "upgrade", dsn=dsn)[0] == 0
    assert revision(dsn) == REVISION


def test_an_upgrade_during_loads(dsn, following, tmp_path):
    """Loads go on while the upgrade waits for a long transaction; none fails, and no row is lost."""
    load, over = Loader(dsn, tmp_path), threading.Event()
    loaded: list[int] = []

    def work():
        while not over.is_set():
            loaded.append(load([image(f"{len(loaded)} {n}") for n in range(5)]).inserted)

    with psycopg.connect(dsn, application_name="a long report") as holder:
        holder.execute("select count(*) from image")
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        with following.start("db", "upgrade", "--wait", "120", dsn=dsn) as process:
            said = ""
            while "(a long report)" not in said:
                said += process.stdout.readline()
            assert process.poll() is None
            before = len(loaded)
            until(lambda: len(loaded) >= before + 3, 120)
            assert revision(dsn) != REVISION
            holder.rollback()
            assert process.wait(120) == 0
    before = len(loaded)
    until(lambda: len(loaded) > before, 60)
    over.set()
    thread.join(60)
    assert set(loaded) == {5}
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select count(*) from image").fetchone() == (5 * len(loaded),)
    assert revision(dsn) == REVISION


def test_killed_and_repeated(dsn, following):
    """Killing an upgrade half-way rolls it back and releases the lock against other upgrades."""
    waits = "select count(*) from pg_locks where locktype = 'advisory' and objid = %s and not granted"
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s)", [HALF_WAY])
        with following.start("db", "upgrade", dsn=dsn) as process:
            until(lambda: holder.execute(waits, [HALF_WAY]).fetchone() == (1,), 60)
            process.kill()
    assert revision(dsn) != REVISION
    assert following.run("db", "upgrade", dsn=dsn)[0] == 0
    assert revision(dsn) == REVISION


def test_an_index_build_that_is_killed_is_repeated(dsn, following):
    """The build blocks no writer; the invalid index that it leaves is dropped and built again."""
    valid = "select indisvalid from pg_index where indexrelid = to_regclass('public.image_made_up')"
    insert = (
        "insert into image (created_on, updated_on, provider, foreign_identifier, foreign_landing_url, url, "
        "license, removed_from_source) "
        "values (now(), now(), 'p', %s, 'https://example.org', %s, 'cc0', false)"
    )
    with psycopg.connect(dsn) as writer, psycopg.connect(dsn, autocommit=True) as other:
        writer.execute(insert, ["open", "https://example.org/open.jpg"])
        with following.start("db", "upgrade", dsn=dsn) as process:
            until(lambda: other.execute(valid).fetchone() == (False,), 60)
            other.execute(insert, ["meanwhile", "https://example.org/meanwhile.jpg"])
            process.kill()
        other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where query like 'create index concurrently%'"
        )
        writer.commit()
        assert other.execute(valid).fetchone() == (False,)
        status, said = following.run("db", "upgrade", dsn=dsn)
        assert (status, "building the index image_made_up, beside readers and writers" in said) == (
            0,
            True,
        ), said
        assert other.execute(valid).fetchone() == (True,)
    assert revision(dsn) == REVISION


def test_two_releases_upgrade_at_once(server, following):
    """In either order, the result is the newer schema, and neither upgrade fails."""
    dsn = database_of_its_own(server, "template0")
    upgrade_to(dsn, "0002")
    with following.start("db", "upgrade", dsn=dsn) as process:
        mine = schema.upgrade(dsn)
        assert process.wait(120) == 0
    assert mine.pending == ()
    assert revision(dsn) == REVISION
