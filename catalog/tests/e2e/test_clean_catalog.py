"""`clean_catalog` through the real scheduler: a dry run, a run that is killed, and a second one."""

import re
import signal

import pytest

from catalog.cleaning.rules import RULES
from catalog.tests.database.media import IMAGES, count_updates
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
ROWS = 200
STATE = "select md5(string_agg(i::text, ' ' order by identifier)) from image i where provider = 'made_up'"


URL = "https://creativecommons.org/licenses/by/4.0/"
DIRT = f"""
    update image set meta_data = meta_data || '{{"license_url": "{URL}"}}',
           tags = '[{{"name": "made up", "provider": "made_up"}}]'
     where provider = 'made_up';
    update image set title = 'A &amp; ' || title, width = 0,
           tags = '["twice", " twice ", {{"name": "u00e9tude"}}]'
     where provider = 'made_up' and title not like '%1';
    update image set url = replace(url, 'https://', '') where provider = 'made_up' and title like '%2';
    update image set meta_data = to_jsonb(meta_data::text) where provider = 'made_up' and title like '%3';
    update image set license = 'BY', license_version = '4' where provider = 'made_up' and title like '%4';
    update image set license = 'terms' where provider = 'made_up' and title like '%5';
"""


@pytest.fixture
def images(bench):
    """Images with dirt for each rule, and others that are clean."""
    with bench.catalog() as connection:
        connection.execute(IMAGES.format(rows=ROWS, providers="'made_up'"))
        connection.execute(DIRT)
        count_updates(connection)
        yield connection
        connection.execute("drop trigger note_update on image; drop function note_update; drop table touched")
        connection.execute("delete from image where provider = 'made_up'")


def changed(text):
    """Return the numbers of a report: rule → rows of images."""
    found = re.findall(r"image, (\w+): ([\d,]+)", text)
    return {rule: int(number.replace(",", "")) for rule, number in found}


def report(bench):
    return [m["text"] for m in bench.slack if m["username"] == "Catalog Cleaning"][-1]


def test_a_catalog_is_cleaned(bench, images):
    bench.slack.clear()
    before = images.execute(STATE).fetchone()
    run_id, state = bench.run("clean_catalog", {}, timeout=400)
    assert state == "success", bench.tasks("clean_catalog", run_id)
    assert "nothing is changed" in bench.api.log("clean_catalog", run_id, "clean_texts", map_index=1)
    assert images.execute(STATE).fetchone() == before
    dry = report(bench)
    expected = {
        "meta_data": ROWS // 10,
        "licenses": ROWS // 10,
        "escapes": ROWS * 9 // 10,
        "texts": ROWS * 9 // 10,
        "tags": ROWS * 9 // 10,
        "urls": ROWS // 10,
        "numbers": ROWS * 9 // 10,
    }
    assert changed(dry) == expected
    assert f"{ROWS // 10} stay: a license that Creative Commons does not have" in dry

    run_id = bench.api.trigger("clean_catalog", {"dry_run": False, "batch_size": 16, "tables": ["image"]})

    def updated():
        row = images.execute(
            "select updated from batched_update where query_id = 'clean_image_escapes'"
        ).fetchone()
        return row[0] if row else 0

    until(lambda: updated() > 20)
    process = bench.process_behind("true")
    process.send_signal(signal.SIGKILL)
    assert bench.api.wait("clean_catalog", run_id, 400) == "success", bench.tasks("clean_catalog", run_id)
    wet = changed(report(bench))
    # The rule of escapes has cleaned the tags that it changed, and no other rule had to.
    assert wet == {**expected, "tags": 0}
    assert f"{ROWS // 10} stay: a license that Creative Commons does not have" in report(bench)
    attempts = {
        t["task_id"]: t["try_number"]
        for t in bench.api.tasks("clean_catalog", run_id)
        if t["state"] == "success"
    }
    assert max(attempts.values()) == 2
    assert images.execute("select count(*) from touched").fetchone() == (sum(wet.values()),)
    assert images.execute(
        "select title, tags from image where provider = 'made_up' and title like '%2' limit 1"
    ).fetchone()[1] == [{"name": "twice", "provider": "made_up"}, {"name": "étude", "provider": "made_up"}]
    tables = "select count(*) from pg_class where relname like 'clean_image%'"
    assert images.execute(tables).fetchone() == (0,)

    after = images.execute(STATE).fetchone()
    with bench.failing("clean_catalog", "clean_texts", "before", "fail"):
        run_id, state = bench.run("clean_catalog", {"dry_run": False, "tables": ["image"]}, timeout=400)
    assert state == "failed"
    assert "not done" in report(bench)
    assert "clean_texts[0]" in report(bench)
    failed = {t["task_id"] for t in bench.api.tasks("clean_catalog", run_id) if "failed" in t["state"]}
    assert "report" in failed  # so that clearing what has failed repeats it
    bench.api.clear("clean_catalog", run_id, sorted(failed), downstream=False)
    assert bench.api.wait("clean_catalog", run_id, 400) == "success"
    assert changed(report(bench)) == dict.fromkeys(RULES, 0)
    assert "not done" not in report(bench)
    assert images.execute(STATE).fetchone() == after
