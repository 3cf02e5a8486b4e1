"""A restored catalog database, older than the state of Airflow, the API and the search engine."""

import re
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from catalog.core.errors import Interrupted, Refused, Retry
from catalog.data_refresh.refresh import begin
from catalog.database.batched_update import BatchedUpdate
from catalog.database.statements import parse_update
from catalog.database.turns import Turn, current, take
from catalog.ingestion.registry import provider_class, provider_classes, provider_names
from catalog.local.stack import ROOT
from catalog.recovery.restored import (
    BY_HAND,
    CatchUp,
    Run,
    catch_up,
    half_done,
    newest_load,
    published_to,
    reaches,
    release_turns,
    runs_by_hand,
    unfinished,
)
from catalog.recovery.taken_back import _shared as shared_columns
from catalog.recovery.taken_back import take_back
from catalog.tests.data_refresh.test_refresh import plan
from catalog.tests.database.media import fill
from catalog.tests.database.test_schema import report
from catalog.tests.values import present

TODAY = date(2026, 3, 25)
RESTORED = datetime(2026, 3, 23, tzinfo=UTC)


def taken(connection):
    found = take(connection, "image_data_refresh", "r", (), lambda *_: False)
    assert isinstance(found, Turn)
    return found


def test_no_run_continues_from_lost_state(catalog):
    """A restarted refresh is distinguished from the lost one whose tables are left in the API database."""
    first = taken(catalog)
    lost = begin(catalog, first, plan()).identity
    assert release_turns(catalog) == 1
    with pytest.raises(Refused, match=r"the restoration of the catalog database began after .* cannot go on"):
        current(catalog, "image_data_refresh", "r")
    again = taken(catalog)
    assert again.number > first.number + 100_000
    assert begin(catalog, again, plan()).identity != lost
    assert release_turns(catalog) == 1  # it may be run again
    assert release_turns(catalog) == 0


def whole(catalog, provider, until, media_type="image", days=1):
    end = datetime.fromisoformat(f"{until}T00:00:00+00:00")
    window = {"window_start": end.replace(day=end.day - days), "window_end": end} if days else {}
    report(
        catalog,
        provider=provider,
        media_type=media_type,
        run_id=f"{provider} {until}",
        whole=True,
        finished_on=end,
        **window,
    )


def test_the_folder_of_the_dataset(catalog):
    """Its next version is refused until somebody says that this catalog replaces the lost one."""
    assert published_to(catalog) is None
    catalog.execute(
        "insert into dataset_version (number, run_id, root, stage) values (1, 'a', 'a', 'published'),"
        " (2, 'b', 'b', 'published'), (3, 'c', 'c', 'writing')"
    )
    assert published_to(catalog) == "b"


def test_how_the_records_of_each_provider_are_restored(catalog):
    names = provider_names()
    assert newest_load(catalog) is None
    for provider, until, media_type, days in (
        ("flickr", "2026-03-20", "image", 1),
        ("wikimedia", "2026-03-21", "image", 1),
        ("wikimedia_audio", "2026-03-18", "audio", 1),  # the day of both is that of the older one
        ("met", "2025-10-05", "image", 1),  # it has been broken for long
        ("freesound", "2026-01-05", "audio", 0),
    ):
        whole(catalog, provider, until, media_type, days)
    report(
        catalog,
        provider="finnishmuseums",
        run_id="a part",
        whole=False,
        finished_on=datetime(2026, 3, 22, 5, tzinfo=UTC),
    )
    report(
        catalog,
        provider="finnishmuseums",
        run_id="of a wrong clock",
        whole=False,
        finished_on=datetime.now(UTC) + timedelta(days=900),
    )
    assert newest_load(catalog) == datetime(2026, 3, 22, 5, tzinfo=UTC)
    found = catch_up(catalog, provider_classes(), None, TODAY)
    assert sorted(one.dag_id for one in found) == [f"{name}_workflow" for name in names]
    ranges = {
        one.dag_id.removesuffix("_workflow"): (one.first, one.last) for one in found if one.how == "days"
    }
    yesterday, before_the_newest = date(2026, 3, 24), date(2026, 3, 21)
    assert ranges == {
        "europeana": (before_the_newest, yesterday),
        "finnish_museums": (before_the_newest, yesterday),
        "flickr": (date(2026, 3, 20), yesterday),
        "metropolitan_museum": (before_the_newest, yesterday),
        "wikimedia_commons": (date(2026, 3, 18), yesterday),
    }
    assert [one for one in found if one.how == "since"] == [
        CatchUp("freesound_workflow", "since", date(2026, 1, 5))
    ]
    assert [one.how for one in found] == sorted(
        (one.how for one in found), key=["days", "since", "everything"].index
    )


def test_a_media_type_that_was_never_whole_does_not_count_as_whole_until_the_day_of_another(catalog):
    """Otherwise its missing days would not be loaded again."""
    whole(catalog, "wikimedia", "2026-03-23")
    [found] = catch_up(catalog, provider_classes(["wikimedia_commons"]), None, TODAY)
    assert found.first == date(2026, 3, 22)  # before the newest load


def test_days_since_a_given_one(catalog):
    found = catch_up(catalog, provider_classes(), date(2026, 3, 1), TODAY)
    dated = [name for name in provider_names() if provider_class(name).dated]
    since = [name for name in provider_names() if provider_class(name).since]
    assert "freesound" in since
    assert [one for one in found if one.how != "everything"] == [
        *(CatchUp(f"{name}_workflow", "days", date(2026, 3, 1), date(2026, 3, 24)) for name in dated),
        *(CatchUp(f"{name}_workflow", "since", date(2026, 3, 1)) for name in since),
    ]
    assert not [one for one in catch_up(catalog, provider_classes(dated), TODAY, TODAY) if one.how == "days"]
    assert catch_up(catalog, provider_classes(["freesound"]), None, TODAY) == [
        CatchUp("freesound_workflow", "everything")
    ]


def test_a_provider_whose_last_window_is_in_the_future_is_not_left_out(catalog):
    """A wrong clock, or a wrong row, does not hide missing days before it."""
    whole(catalog, "flickr", "2026-03-20")
    whole(catalog, "europeana", "2027-01-02")
    catalog.execute("update ingestion_report set window_end = 'infinity' where provider = 'flickr'")
    report(catalog, provider="met", run_id="odd", whole=True, finished_on=datetime(2026, 3, 20, tzinfo=UTC))
    found = catch_up(catalog, provider_classes(["europeana", "flickr"]), None, TODAY)
    assert [(one.dag_id, one.how, one.last) for one in found] == [
        ("europeana_workflow", "days", date(2026, 3, 24)),
        ("flickr_workflow", "days", date(2026, 3, 24)),
    ]
    assert all(present(one.first) <= date(2026, 3, 24) for one in found)


def test_a_first_day_in_the_future_is_refused(catalog):
    with pytest.raises(Refused, match="2030-01-01 is in the future"):
        catch_up(catalog, provider_classes(["flickr"]), date(2030, 1, 1), TODAY)


def run(dag_id, run_id="r", ended=RESTORED):
    return Run(dag_id, run_id, "success", RESTORED - timedelta(days=3), ended, {})


def test_which_runs_changed_records(catalog):
    """Runs are read from Airflow's table; dry runs, other DAGs and earlier runs are left out."""
    catalog.execute(
        "create table dag_run (dag_id text, run_id text, run_type text, state text, start_date timestamptz, "
        "conf jsonb, end_date timestamptz)"
    )
    rows = [
        ("delete_records", "wet", "success", 20, {"table_name": "image"}),
        ("delete_records", "dry", "success", 20, {"dry_run": True}),
        ("batched_update", "wet", "failed", 19, {"dry_run": False}),
        ("batched_update", "dry", "success", 20, {"query_id": "x"}),
        ("add_license_url", "1", "success", 21, None),
        ("flickr_thumbnails_removal", "1", "running", 21, {}),
        ("delete_records", "old", "success", 1, {}),
        ("flickr_workflow", "1", "success", 20, {}),
        ("delete_records", "queued", "queued", None, {}),
        ("batched_update", "popularity", "success", 20, {"dry_run": False}),
        ("batched_update", "long", "success", 2, {"dry_run": False}),
        ("clean_catalog", "ended", "success", 3, {"dry_run": False}),
        ("clean_catalog", "went on", "success", 4, {"dry_run": False}),
        ("clean_catalog", "goes on", "running", 5, {"dry_run": False}),
    ]
    days = {"ended": 9, "went on": 11}
    for dag_id, run_id, state, day, conf in rows:
        moment = datetime(2026, 3, day, tzinfo=UTC) if day else None
        kind = "operator_triggered" if run_id == "popularity" else "manual"
        ended = datetime(2026, 3, days[run_id], tzinfo=UTC) if run_id in days else None
        values = [dag_id, run_id, kind, state, moment, Jsonb(conf), ended]
        catalog.execute("insert into dag_run values (%s, %s, %s, %s, %s, %s, %s)", values)
    found = runs_by_hand(catalog, datetime(2026, 3, 10, tzinfo=UTC), ["batched_update/long"])
    assert [(one.dag_id, one.run_id) for one in found] == [
        ("batched_update", "long"),
        ("clean_catalog", "went on"),
        ("clean_catalog", "goes on"),
        ("batched_update", "wet"),
        ("delete_records", "wet"),
        ("add_license_url", "1"),
        ("flickr_thumbnails_removal", "1"),
    ]


def test_the_dags_that_people_change_records_with():
    """Each has a file with its name; scheduled DAGs repeat their work without help."""
    changes = re.compile(r"\b(run_batched_update|run_cleaning|run_merge|batched_job|Deletion)\(")
    files = {
        path.stem for path in (ROOT / "catalog" / "dags").glob("*.py") if changes.search(path.read_text())
    }
    assert files - {"popularity_refresh"} == set(BY_HAND)


def test_completed_partial_and_unknown_runs(catalog):
    fill(catalog, 300)
    what = parse_update("image", "SET title = 'x'", "WHERE provider = 'flickr'")

    def job(query_id, run_id, **more):
        return BatchedUpdate(
            catalog, query_id, f"batched_update/{run_id}", what, batch_size=50, pause=0, **more
        )

    done = job("done", "done")
    done.run(done.select())
    done.finish()
    half = job("half", "half", should_stop=lambda: True)
    with pytest.raises(Interrupted):
        half.run(half.select())
    selected = job("selected", "selected")
    selected.select()
    runs = [run("batched_update", name) for name in ("done", "half", "selected", "unknown")]
    found = {one.run.run_id: one.begun for one in unfinished(catalog, runs, RESTORED)}
    assert found == {"half": True, "selected": True, "unknown": False}
    assert sorted(half_done(catalog)) == ["batched_update/half", "batched_update/selected"]


def test_an_update_that_waits_for_locked_rows_is_not_done(catalog, dsn):
    fill(catalog, 100)
    what = parse_update("image", "SET title = 'x'", "WHERE provider = 'flickr'")
    job = BatchedUpdate(catalog, "locked", "batched_update/locked", what, batch_size=50, pause=0)
    with psycopg.connect(dsn) as other:
        other.execute("select from image where provider = 'flickr' limit 1 for update")
        with pytest.raises(Retry):
            job.run(job.select())
    assert half_done(catalog) == ["batched_update/locked"]
    assert [one.begun for one in unfinished(catalog, [run("batched_update", "locked")], RESTORED)] == [True]


def test_an_update_that_was_taken_over_or_given_up_is_not_resumed(catalog):
    fill(catalog, 300)
    what = parse_update("image", "SET title = 'x'", "WHERE provider = 'flickr'")
    for query_id in ("taken", "given_up"):
        job = BatchedUpdate(
            catalog, query_id, f"batched_update/{query_id}", what, batch_size=50, should_stop=lambda: True
        )
        with pytest.raises(Interrupted):
            job.run(job.select())
    later = BatchedUpdate(catalog, "taken", "batched_update/later", what, batch_size=50, pause=0)
    later.run(later.claim(resume=True) or later.select())
    later.finish()
    catalog.execute("drop table given_up_rows_to_update")  # as the refusal of other runs advises
    assert half_done(catalog) == []
    names = ("taken", "given_up", "later")
    assert unfinished(catalog, [run("batched_update", name) for name in names], RESTORED) == []


def test_of_a_run_that_went_on_some_selections_may_be_missing(catalog):
    """Those that the database knows are done; of a run that ended before, there are no others."""
    fill(catalog, 100)
    what = parse_update("image", "SET title = 'x'", "WHERE provider = 'flickr'")
    for name in ("ended", "went on", "goes on"):
        done = BatchedUpdate(catalog, name.replace(" ", "_"), f"clean_catalog/{name}", what, pause=0)
        done.run(done.select())
        done.finish()
    ends = {"ended": RESTORED - timedelta(days=1), "went on": RESTORED, "goes on": None}
    runs = [run("clean_catalog", name, ended) for name, ended in ends.items()]
    found = {one.run.run_id: one.begun for one in unfinished(catalog, runs, RESTORED)}
    assert found == {"went on": True, "goes on": True}


def test_an_airflow_that_does_not_know_the_time_before(catalog):
    catalog.execute("create table dag_run (start_date timestamptz)")
    assert not reaches(catalog, RESTORED)
    catalog.execute("insert into dag_run values (%s)", [RESTORED + timedelta(hours=1)])
    assert not reaches(catalog, RESTORED)
    catalog.execute("insert into dag_run values (%s)", [RESTORED])
    assert reaches(catalog, RESTORED)


def test_records_come_back_under_their_keys(catalog, api):
    """Records that only the API has are restored, unless they were deleted or have a new key."""
    fill(catalog, 3, ("flickr",))
    backup = datetime.now(UTC)
    fill(catalog, 5, ("smk",))
    copied = [*shared_columns(catalog, api, "image")]
    rows = catalog.execute(f"select {', '.join(copied)} from image").fetchall()
    marks = ", ".join(["%s"] * len(copied))
    for row in rows:
        values = [Jsonb(value) if isinstance(value, dict | list) else value for value in row]
        api.execute(f"insert into image ({', '.join(copied)}) values ({marks})", values)
    api.execute("update image set standardized_popularity = 0.99")
    known = dict(catalog.execute("select foreign_identifier, identifier from image").fetchall())
    api.execute(
        "insert into image (created_on, updated_on, identifier, license, removed_from_source) "
        "values (now(), now(), gen_random_uuid(), 'by', false)"
    )  # without a URL
    catalog.execute("update image set title = 'older' where provider = 'flickr'")
    catalog.execute("delete from image where provider = 'smk'")  # what the restored database lacks
    catalog.execute(
        "insert into deleted_image (identifier, created_on, updated_on, license, url, removed_from_source, "
        "deleted_on) "
        "values (%s, now(), now(), 'by', 'https://example.org/gone', false, now())",
        [known["smk4"]],
    )
    fill(catalog, 1, ("smk",))  # pulled again already
    assert take_back(catalog, api, "image", backup) == 3
    found = dict(catalog.execute("select foreign_identifier, identifier from image").fetchall())
    assert {name: found[name] for name in ("smk2", "smk3", "smk5")} == {
        n: known[n] for n in ("smk2", "smk3", "smk5")
    }
    assert found["smk1"] != known["smk1"]
    assert "smk4" not in found
    assert catalog.execute("select count(*) from image where title = 'older'").fetchone() == (3,)
    scores = "select count(*) from image where standardized_popularity = 0.99"
    assert catalog.execute(scores).fetchone() == (0,)  # of a constant that is lost
    assert take_back(catalog, api, "image", backup) == 0
    assert take_back(catalog, api, "audio", backup) == 0


def test_random_identifiers_do_not_tell_when_they_were_created(catalog, api):
    """An adopted catalog has millions of them; they are neither copied nor taken for newer ones."""
    since = datetime.now(UTC) - timedelta(days=1)
    key = catalog.execute("select time_ordered_uuid()").fetchone()[0]
    random = UUID(int=key.int & ~(0xF << 76) | 4 << 76)  # of the same place in the index
    future = UUID(int=key.int + (30 * 86_400_000 << 80))
    largest = UUID("ffffffff-ffff-4fff-bfff-ffffffffffff")
    assert (key.version, random.version, future.version) == (7, 4, 7)
    api.cursor().executemany(
        "insert into image (created_on, updated_on, identifier, license, removed_from_source, url, provider,"
        " foreign_identifier) values ('2020-01-01', now(), %s, 'by', false, %s, 'flickr', %s)",
        [(one, f"https://example.org/{one}", f"{one}") for one in (random, largest, future, key)],
    )
    assert take_back(catalog, api, "image", since) == 1
    assert catalog.execute("select identifier from image").fetchall() == [(key,)]
