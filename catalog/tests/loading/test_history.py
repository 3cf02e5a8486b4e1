"""Loads that a load is compared with, and loads that count as whole, from a real `ingestion_report`."""

import uuid
from datetime import UTC, date, datetime, timedelta

import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb
from upath import UPath

from catalog.core.media import MediaType
from catalog.core.sql_files import read_sql
from catalog.ingestion.completeness import Expectations
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.ingestion.windows import day_window
from catalog.loading.history import comparable_loads, fresh_until, last_whole
from catalog.loading.load import Load
from catalog.loading.report import _KEEP_EARLIER as KEEP_EARLIER
from catalog.loading.report import LoadKey
from catalog.tests.loading.loader import image

pytestmark = pytest.mark.database
NOW = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def report(catalog, fetched, *, age=0, window=None, provider="example", skipped=None, **columns):
    """Insert a row of ingestion_report, `age` days old; what was fetched and not skipped is unchanged."""
    left_out = sum((skipped or {}).values())
    values = {
        "dag_id": "example_workflow",
        "run_id": uuid.uuid4().hex,
        "provider": provider,
        "media_type": "image",
        "manifest_token": "t",
        "manifest_pages": 1,
        "complete": True,
        "whole": True,
        "fetched": fetched,
        "inserted": 0,
        "updated": 0,
        "unchanged": fetched - left_out,
        "skipped": left_out,
        "rejected": 0,
        "skipped_reasons": Jsonb(skipped or {}),
        "window_start": window and window.start,
        "window_end": window and window.end,
        "finished_on": NOW - DAY * age,
        **columns,
    }
    names, places = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    catalog.execute(f"insert into ingestion_report ({names}) values ({places})", values)


ELSEWHERE = LoadKey("another", "run")
EXAMPLE: dict[MediaType, str] = {"image": "example"}


def compared(catalog, window=None, *, media_type: MediaType = "image", key=ELSEWHERE, token="another"):
    """Return how many items each load fetched that a load is compared with."""
    found = comparable_loads(catalog, "example", media_type, window, excluding=key, token=token)
    return [outcome.fetched for outcome in found]


def test_pulls_of_everything_are_compared_newest_first(catalog):
    for n in range(8):
        report(catalog, 100 + n, age=n)
    report(catalog, 1, provider="other")
    report(catalog, 2, window=day_window(date(2024, 2, 29)))
    assert compared(catalog) == [100 + n for n in range(8)]
    assert compared(catalog, media_type="audio") == []


@pytest.mark.parametrize("column", [{"complete": False}, {"whole": False}, {"replayed": True}])
def test_what_is_not_whole_is_no_measure_and_not_fresh(catalog, column):
    report(catalog, 7, age=2)
    report(catalog, 100, age=1, **column)
    assert compared(catalog) == [7]
    assert last_whole(catalog, EXAMPLE) == NOW - DAY * 2
    assert last_whole(catalog, {"image": "unknown"}) is None
    assert last_whole(catalog, {**EXAMPLE, "audio": "example"}) is None  # its sounds never were


def test_a_load_is_not_compared_with_itself(catalog):
    report(catalog, 5, run_id="this")
    assert compared(catalog, key=LoadKey("example_workflow", "this"), token="t") == []


def test_a_repeated_pull_is_compared_with_the_one_before_it(catalog):
    """Its run was cleared: it has the same key, and later its report replaces the other one."""
    key = LoadKey("example_workflow", "this")
    report(catalog, 5, run_id="this")
    assert compared(catalog, key=key, token="new") == [5]
    values = {**msgspec.structs.asdict(key), "media_type": "image"}
    catalog.execute(read_sql(KEEP_EARLIER), values)
    catalog.execute("update ingestion_report set manifest_token = 'new', complete = false, fetched = 5")
    assert compared(catalog, key=key, token="new") == [5]
    assert compared(catalog) == [5]
    catalog.execute("update earlier_load set whole = false")
    assert compared(catalog) == []


def test_a_whole_pull_stays_fresh_when_its_run_is_cleared(catalog):
    """Also if its repetition fails: its rows are there; only its report is replaced."""
    values = {**msgspec.structs.asdict(LoadKey("example_workflow", "this")), "media_type": "image"}
    report(catalog, 5, run_id="this", age=2, pull_began=NOW - DAY * 3)
    catalog.execute(read_sql(KEEP_EARLIER), values)
    catalog.execute("update ingestion_report set manifest_token = 'new', complete = false, pull_began = null")
    catalog.execute("update ingestion_report set finished_on = %s", [NOW])
    assert last_whole(catalog, EXAMPLE) == fresh_until(catalog, EXAMPLE) == NOW - DAY * 3
    catalog.execute(read_sql(KEEP_EARLIER), values)  # the incomplete one is replaced, too
    assert fresh_until(catalog, EXAMPLE) == NOW - DAY * 3
    catalog.execute("update ingestion_report set complete = true")
    assert fresh_until(catalog, EXAMPLE) == NOW


def test_what_is_kept_of_a_load_is_all_of_its_report(catalog):
    values = {**msgspec.structs.asdict(LoadKey("example_workflow", "this")), "media_type": "image"}
    report(
        catalog,
        5,
        run_id="this",
        skipped={"too small": 2},
        rejected_reasons=Jsonb({"x": 0}),
        cleaned_reasons=Jsonb({"y": 1}),
        load_seconds=2.5,
        pull_seconds=1.5,
        accepted=True,
        shortfalls=Jsonb(["few"]),
        window=day_window(date(2024, 2, 1)),
        pull_began=NOW - DAY,
        announced=7,
    )
    catalog.execute(read_sql(KEEP_EARLIER), values)
    first, second = catalog.execute("select * from every_load").fetchall()
    assert first == second


def test_windows_are_compared_with_the_nearest_ones(catalog):
    for back in range(100):
        report(catalog, 1000 + back, window=day_window(date(2024, 3, 1) - DAY * back), age=100 - back)
    report(catalog, 3)
    window = day_window(date(2024, 1, 10))
    found = compared(catalog, (window.start, window.end))
    assert len(found) == 30
    assert found[0] == 1051
    assert set(found) <= set(range(1036, 1067))
    far = day_window(date(2022, 1, 1))
    assert compared(catalog, (far.start, far.end)) == []


def test_a_window_that_was_pulled_again_is_one_window(catalog):
    """Its newest load counts, so that neither what is usual nor 30 windows are those of a few days."""
    for back in range(40):
        for again in range(4):
            report(
                catalog, 100 * back + again, window=day_window(date(2024, 2, 29) - DAY * back), age=4 - again
            )
    window = day_window(date(2024, 2, 29))
    assert compared(catalog, (window.start, window.end)) == [100 * back + 3 for back in range(30)]


def test_a_dated_provider_is_as_fresh_as_its_newest_window(catalog):
    report(catalog, 5, window=day_window(date(2024, 2, 1)))
    report(catalog, 5, window=day_window(date(2019, 1, 1)))  # loaded just now, of five years ago
    rows = catalog.execute("select max(fresh_on) from whole_pull").fetchone()
    assert rows[0] == datetime(2024, 2, 2, tzinfo=UTC)
    assert last_whole(catalog, EXAMPLE) is None  # of everything


def test_a_pull_that_is_loaded_late_is_as_fresh_as_its_beginning(catalog):
    report(catalog, 5, age=10, pull_began=NOW - DAY * 11)
    report(catalog, 5, age=0, pull_began=NOW - DAY * 28)  # its load had failed, and is cleared today
    assert last_whole(catalog, EXAMPLE) == fresh_until(catalog, EXAMPLE) == NOW - DAY * 11


def test_a_load_in_the_future_is_neither_fresh_nor_a_measure(catalog):
    """As after the server's clock was ahead."""
    report(catalog, 5, age=10)
    before = last_whole(catalog, EXAMPLE)
    report(catalog, 7, age=-40_000)
    assert last_whole(catalog, EXAMPLE) == fresh_until(catalog, EXAMPLE) == before
    assert catalog.execute("select fetched from whole_pull").fetchall() == [(5,)]


class Pulls:
    """Load pulls that brought some images, each in a run of its own."""

    def __init__(self, dsn, folder):
        self.dsn, self.folder, self.number = dsn, UPath(folder), 0

    def __call__(
        self,
        images,
        *,
        accepted=False,
        run_id=None,
        token=None,
        whole=True,
        complete=True,
        shortfalls=(),
        announced=None,
        **expected,
    ):
        self.number += 1
        part = self.folder / f"{self.number}.tsv"
        encoder = Encoder("image", "example", UrlCleaner())
        part.write_bytes("".join(encoder.line(image(n)) for n in range(images)).encode())
        run_id = run_id or uuid.uuid4().hex
        manifest = Manifest(
            provider="example",
            run_id=run_id,
            window=None,
            replayed=False,
            started=NOW,
            token=token or run_id,
            pages=1,
            counts={"image": Counts(images, images, {}, {})},
            complete=complete,
            whole=whole,
            accepted=accepted,
            shortfalls=[*shortfalls],
            announced=announced,
        )
        with psycopg.connect(self.dsn) as connection:
            key = LoadKey("example_workflow", run_id)
            return Load(
                connection, "image", "example", [part], manifest, key, expected=Expectations(**expected)
            ).run()


@pytest.fixture
def pulls(dsn, tmp_path):
    return Pulls(dsn, tmp_path)


def stored(catalog):
    query = "select whole, accepted, shortfalls from ingestion_report order by finished_on"
    return catalog.execute(query).fetchall()


def test_a_load_that_shrinks_is_loaded_and_not_whole(catalog, pulls):
    assert pulls(10).unusual == []
    (text,) = pulls(4).unusual
    assert text.startswith("4 items came, 10 in the last whole pull")
    assert stored(catalog) == [(True, False, []), (False, False, [text])]
    assert catalog.execute("select count(*) from image").fetchone() == (10,)  # nothing is deleted
    assert pulls(4).unusual == [text]  # once more: the measure is still the last whole one


def test_a_shortfall_that_is_accepted_is_the_new_measure(catalog, pulls):
    pulls(10)
    (text,) = pulls(4).unusual
    assert pulls(4, accepted=True).unusual == [text]
    assert stored(catalog)[-1] == (True, True, [text])
    assert pulls(3).unusual == []


def test_a_shortfall_is_accepted_as_it_was_reported(catalog, pulls):
    """A run that accepts one may bring less: of another attempt, or when it is cleared."""
    pulls(20)
    (text, unseen) = pulls(9, run_id="accepts", token="a", accepted=True).unusual
    assert unseen == "the load before did not fall short, so nobody can have seen what is missing now"
    assert stored(catalog)[-1] == (False, False, [text, unseen])
    less, unseen = pulls(3, run_id="accepts", token="b", accepted=True).unusual
    assert less.startswith("3 items came, 20 in")
    assert unseen.startswith("3 items came, but 9 when the shortfall was reported")
    assert stored(catalog)[-1][:2] == (False, False)
    pulls(1, whole=False)  # a limited run
    pulls(1, complete=False)  # one that has failed
    assert len(pulls(3, run_id="accepts", token="c", accepted=True).unusual) == 1
    assert stored(catalog)[-1][:2] == (True, True)
    assert len(pulls(1, run_id="accepts", token="d", accepted=True).unusual) == 2
    assert pulls(3).unusual == []


def test_more_that_is_announced_and_does_not_come_was_not_reported(catalog, pulls):
    """As many came, but of far more: the API stops there."""
    less, more = {"announced": 10, "shortfalls": ["8 of 10"]}, {"announced": 90, "shortfalls": ["8 of 90"]}
    pulls(8, complete=False, **less)
    (text,) = pulls(8, accepted=True, **more).unusual
    assert text.startswith("8 of 90 announced items came, but 8 of 10 when the shortfall was reported")
    assert stored(catalog)[-1] == (False, False, ["8 of 90", text])
    assert pulls(8, accepted=True, **more).unusual == []
    assert stored(catalog)[-1] == (True, True, ["8 of 90"])


def test_what_was_announced_is_known_of_a_report_that_was_replaced(pulls):
    pulls(8, run_id="r", token="a", complete=False, announced=10, shortfalls=["8 of 10"])
    pulls(1, run_id="r", token="b", complete=False)
    (text,) = pulls(8, accepted=True, announced=90, shortfalls=["8 of 90"]).unusual
    assert "but 8 of 10 when" in text


def test_of_a_first_pull_nothing_can_have_been_lost(catalog, pulls):
    assert pulls(3, accepted=True, shortfalls=["3 of 5 announced items came"]).unusual == []
    assert stored(catalog)[-1] == (True, True, ["3 of 5 announced items came"])


def test_a_load_that_is_repeated_says_the_same(catalog, pulls):
    pulls(10)
    first = pulls(4, run_id="again", token="t")
    assert pulls(4, run_id="again", token="t").unusual == first.unusual != []


def test_loads_that_shrink_a_little_each_time_are_noticed(catalog, pulls):
    """Until somebody accepts it: then the smaller number is the measure."""
    assert [pulls(number).unusual for number in (20, 15, 11)] == [[], [], []]
    (text,) = pulls(9).unusual
    assert text.startswith("9 items came, 20 in an earlier whole pull")
    assert pulls(9, accepted=True).unusual == [text]
    assert pulls(9, accepted=True).unusual == []  # nothing that had to be accepted
    assert pulls(5).unusual == []
    assert pulls(4).unusual != []


@pytest.mark.parametrize("column", [{"whole": False}, {"complete": False}])
def test_limited_and_partial_pulls_are_compared_with_nothing(catalog, pulls, column):
    pulls(10)
    assert pulls(1, **column).unusual == []
