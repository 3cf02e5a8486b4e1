"""Which failed runs are shown, by Airflow's tables in PostgreSQL."""

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel

from catalog.cleaning.rules import RULES
from catalog.core.airflow_names import ADDRESS, HELD, LIMITED, WATCHER
from catalog.monitoring.failed_runs import failed_runs, merged
from catalog.tests.conftest import database
from catalog.tests.plugins.website import fill_metadata

pytestmark = [pytest.mark.database, pytest.mark.airflow, pytest.mark.enable_socket]
NOW = datetime(2024, 3, 14, 12, tzinfo=UTC)
TODAY = NOW.replace(hour=0)
DATED, WHOLE, REFRESH = "europeana_workflow", "smk_workflow", "image_data_refresh"


@pytest.fixture(scope="module")
def metadata(server, tmp_path_factory):
    """Airflow's database without runs."""
    with database(server, "empty") as address:
        address = address.replace("postgresql://", "postgresql+psycopg2://")
        home = tmp_path_factory.mktemp("airflow")
        fill_metadata({**os.environ, ADDRESS: address, "AIRFLOW_HOME": str(home)}, [], [])
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
        yield engine


@pytest.fixture
def airflow(metadata):
    with metadata.connect() as connection:
        yield connection
        connection.rollback()


class Runs:
    """Adds the runs of a DAG, and tells which are shown."""

    def __init__(self, airflow, dag_id):
        self.airflow, self.dag_id = airflow, dag_id

    def __call__(self, run_id, state, ended, *, due=None, day=None, kind="manual", conf=None):
        """Add a run.

        Args:
            run_id: Its id.
            state: Its state.
            ended: Hours before NOW at which it ended.
            due: Hours before NOW at which it was due; by default, when it ended.
            day: Days before today of its interval, if it has one.
            kind: Its type.
            conf: Its conf.
        """
        start = None if day is None else TODAY - timedelta(days=day)
        end = start and start + timedelta(days=1)
        self.airflow.execute(
            sqlalchemy.insert(DagRun).values(
                dag_id=self.dag_id,
                run_id=run_id,
                run_type=kind,
                state=state,
                run_after=end or NOW - timedelta(hours=ended if due is None else due),
                end_date=NOW - timedelta(hours=ended),
                logical_date=start,
                data_interval_start=start,
                data_interval_end=end,
                conf=conf,
            )
        )

    def mark(self, run_id, task_id, state):
        """Set the state of a task that `note` has added, as a mark by hand does."""
        self.airflow.execute(
            sqlalchemy.text(
                "update task_instance set state = :state, end_date = now()"
                " where run_id = :run_id and task_id = :task_id"
            ),
            {"state": state, "run_id": run_id, "task_id": task_id},
        )

    def note(self, run_id, key, task_id="pull"):
        """Add a task to a run, with an XCom."""
        task = {"dag_id": self.dag_id, "run_id": run_id, "task_id": task_id, "map_index": -1}
        [number] = self.airflow.execute(
            sqlalchemy.select(DagRun.id).where(DagRun.dag_id == self.dag_id, DagRun.run_id == run_id)
        ).one()
        self.airflow.execute(
            sqlalchemy.text(
                "insert into task_instance (id, try_number, max_tries, pool, pool_slots, queue,"
                " priority_weight, executor_config, span_status, dag_id, run_id, task_id, map_index) values"
                " (:id, 1, 0, 'p', 1, 'q', 1, '', 'ended', :dag_id, :run_id, :task_id, :map_index)"
            ),
            {"id": uuid4(), **task},
        )
        self.airflow.execute(
            sqlalchemy.insert(XComModel).values(dag_run_id=number, key=key, value="why", **task)
        )

    def shown(self):
        found = failed_runs(self.airflow, [self.dag_id], NOW)
        return [run_id for _, run_id in found]


@pytest.fixture
def dated(airflow):
    return Runs(airflow, DATED)


@pytest.fixture
def whole(airflow):
    return Runs(airflow, WHOLE)


def test_a_backfill_of_an_old_day_does_not_hide_todays_failure(dated):
    dated("today", "failed", 10, day=1, kind="scheduled")
    dated("old", "success", 2, day=40, kind="backfill")
    assert dated.shown() == ["today"]


def test_a_failed_backfill_stands_for_its_own_day(dated):
    dated("today", "success", 10, day=1, kind="scheduled")
    dated("old", "failed", 2, day=40, kind="backfill")
    [finding] = failed_runs(dated.airflow, [DATED], NOW).values()
    assert finding.text == "the newest run for 2024-02-03 failed on 2024-03-14 10:00"


@pytest.mark.parametrize(
    ("due", "conf"),
    [(5, {"date": "2024-03-12"}), (5, {"date": "2024-03-12", "limit": None}), (36, {}), (36, None)],
)
def test_a_run_by_hand_makes_up_for_its_day(dated, due, conf):
    """That of its conf, or else the last full one before it."""
    dated("day", "failed", 30, day=2, kind="scheduled")
    dated("yesterday", "failed", 10, day=1, kind="scheduled")
    dated("by hand", "success", 1, due=due, conf=conf)
    assert dated.shown() == ["yesterday"]


def test_failed_days_of_a_dag_are_one_finding_about_the_newest(dated):
    for day in (1, 3, 9):
        dated(f"{day}", "failed", day, day=day, kind="scheduled")
    failed = failed_runs(dated.airflow, [DATED], NOW)
    [finding] = merged([], failed)
    assert (finding.run_id, finding.text.rpartition(";")[2]) == ("1", " so did those for 2 others")


def test_an_old_failure_counts_for_a_month_unless_it_is_the_newest(dated):
    month = 24 * 32
    dated("day", "failed", month, day=40, kind="scheduled")
    assert dated.shown() == ["day"]
    dated("later", "success", month - 24, day=39, kind="scheduled")
    assert dated.shown() == []


def test_an_older_run_that_was_cleared_does_not_make_up_for_a_newer_one(whole):
    whole("newer", "failed", 5, due=10)
    whole("older", "success", 1, due=200)
    assert whole.shown() == ["newer"]
    whole("newest", "success", 0, due=0)
    assert whole.shown() == []


NOTHING: list[Any] = [None, {}, {"replay": False}, {"limit": None}, {"limit": 0}, {"query_params_list": []}]
TRIALS: list[Any] = [
    {"replay": "folder"},
    {"limit": 5},
    {"initial_query_params": {"page": 2}},
    {"query_params_list": [{"page": 2}]},
    {"additional_query_params": {"q": "cats"}},
]


@pytest.mark.parametrize("conf", [*NOTHING, *TRIALS])
@pytest.mark.parametrize("state", ["success", "failed"])
def test_trials_do_not_count(whole, conf, state):
    """Confs without effect are the same as none."""
    whole("failed", "failed", 5, kind="scheduled")
    whole("later", state, 1, conf=conf)
    later = {"success": [], "failed": ["later"]}[state]
    assert whole.shown() == (["failed"] if conf in TRIALS else later)


@pytest.mark.parametrize("key", [HELD, LIMITED])
def test_a_run_that_a_variable_limits_makes_up_for_none(whole, key):
    """Nor does one whose schedule is held; a failure of such a run is one."""
    whole("failed", "failed", 9)
    whole("limited", "success", 7)
    whole.note("limited", key)
    assert whole.shown() == ["failed"]
    whole("limited too", "failed", 5)
    whole.note("limited too", key)
    assert whole.shown() == ["limited too"]
    whole("whole", "success", 3)
    assert whole.shown() == []


def test_a_task_that_is_marked_as_failed_in_a_successful_run(whole):
    """Airflow leaves the run as it is, and the watcher does not run again."""
    whole("run", "success", 5)
    for task_id, state in (("pull", "success"), (WATCHER, "skipped")):
        whole.note("run", "key", task_id)
        whole.mark("run", task_id, state)
    assert whole.shown() == []
    whole.mark("run", "pull", "failed")
    [finding] = failed_runs(whole.airflow, [WHOLE], NOW).values()
    assert (finding.run_id, finding.task_id) == ("run", "pull")
    assert (
        finding.text == "pull has failed in a run that counts as successful; clear it, or mark it as success"
    )
    whole.mark("run", WATCHER, "failed")  # so the run had failed, and was marked as success
    assert whole.shown() == []
    whole.mark("run", WATCHER, "skipped")
    whole("later", "success", 1)
    assert whole.shown() == []


def test_a_sample_does_not_make_up_for_slices(airflow):
    """But for the sample of a provider."""
    runs = Runs(airflow, "check_links")
    slices = {"provider": "met", "slices": 10, "first_slice": 2}
    runs("slices", "failed", 9, conf=slices)
    runs("provider", "failed", 8, conf={"provider": "met"})
    runs("sample", "success", 7, kind="scheduled")
    assert runs.shown() == ["slices"]
    runs("sample again", "failed", 6, kind="scheduled")
    assert runs.shown() == ["sample again", "slices"]
    runs("slices again", "success", 5, conf=slices)
    runs("newest sample", "success", 4)
    assert runs.shown() == []


def test_a_part_does_not_make_up_for_the_whole(airflow):
    """Freesound, for example, can be asked for what is newer than a day."""
    for dag_id, conf in ((REFRESH, {"index_only": True}), (WHOLE, {"date": "2024-03-01"})):
        runs = Runs(airflow, dag_id)
        runs("whole", "failed", 9)
        runs("part", "success", 8, conf=conf)
        assert runs.shown() == ["whole"]
        runs("again", "success", 7)
        runs("part failed", "failed", 6, conf=conf)
        assert runs.shown() == ["part failed"]
        runs("part again", "success", 5, conf=conf)
        assert runs.shown() == []


def test_runs_about_other_objects_do_not_count(airflow):
    runs = Runs(airflow, "batched_update")
    runs("first", "failed", 9, conf={"query_id": "a", "dry_run": False})
    runs("other", "success", 8, conf={"query_id": "b", "dry_run": False})
    runs("trial", "success", 7, conf={"query_id": "a"})
    assert runs.shown() == ["first"]
    runs("done", "success", 6, conf={"query_id": "a", "dry_run": False})
    assert runs.shown() == []


@pytest.mark.parametrize(
    ("dag_id", "failed", "other", "same"),
    [
        ("check_links", {"provider": "flickr"}, {"provider": "smk"}, {}),
        ("check_links", {}, {"mark": False}, {"mark": True}),
        ("clean_catalog", {"rules": ["urls"], "dry_run": False}, {"rules": ["tags"], "dry_run": False}, None),
        ("clean_catalog", {"dry_run": False}, {"rules": ["tags"], "dry_run": False}, None),
        (
            "create_filtered_image_index",
            {"destination_index_suffix": "a"},
            {"destination_index_suffix": "b"},
            {},
        ),
        (
            "add_machine_labels",
            {"file": "a", "dry_run": False},
            {"file": "a", "provider": "clarifai", "new_service": True, "dry_run": False},
            {"file": "a", "provider": "rekognition", "accept_older": True, "dry_run": False},
        ),
        (
            "add_machine_labels",
            {"file": "a", "dry_run": False},
            {"file": "a", "least_confidence": 80, "dry_run": False},
            {"file": "a", "least_confidence": 0, "dry_run": False},
        ),
        ("airflow_log_cleanup", {}, {"enableDelete": "False"}, {"enableDelete": True}),
        (
            "create_new_staging_es_index",
            {"media_type": "image", "index_suffix": "a"},
            {"media_type": "image"},
            {"media_type": "image", "index_suffix": "a", "origin": "image-b"},
        ),
        (
            "recreate_full_staging_index",
            {"media_type": "image"},
            {"media_type": "image", "target_alias_override": "image-try"},
            {"media_type": "image"},
        ),
        ("image_data_refresh", {"mode": "full"}, {"mode": "incremental"}, {"mode": "full"}),
        ("image_data_refresh", {"mode": "incremental"}, {"index_only": True}, {"mode": "full"}),
        ("image_popularity_refresh", {"force": True}, {}, {"force": True}),
        ("flickr_workflow", {"include_deleted": True}, {"include_deleted": False}, {"include_deleted": True}),
        (
            "delete_records",
            {"table_name": "image", "select_query": "WHERE a"},
            {"table_name": "image", "select_query": "WHERE b"},
            {"table_name": "image", "select_query": "WHERE a", "reason": "again"},
        ),
        (
            "check_links",
            {"provider": "flickr"},
            {"provider": "flickr", "slices": 100, "first_slice": 1, "last_slice": 1},
            {"provider": "flickr"},
        ),
        (
            "check_links",
            {"provider": "flickr", "slices": 10, "first_slice": 1},
            {"provider": "flickr", "slices": 10, "last_slice": 1},
            {"provider": "flickr", "slices": 10, "first_slice": 1, "last_slice": 10},
        ),
        (
            "check_links",
            {},
            {"provider": "flickr"},
            {"provider": None, "slices": 0, "first_slice": 1, "last_slice": None, "mark": True},
        ),
        (
            "clean_catalog",
            {"dry_run": False},
            {"tables": ["audio"], "rules": [*RULES], "dry_run": False},
            {"tables": ["image", "audio"], "rules": [*RULES], "dry_run": False},
        ),
        (
            "delete_records",
            {"table_name": "image", "select_query": "WHERE  a\n"},
            {"table_name": "audio", "select_query": "WHERE a"},
            {"table_name": "image", "select_query": "WHERE a"},
        ),
        (
            "clean_catalog",
            {"rules": ["urls", "tags"], "dry_run": False},
            {"rules": ["urls"], "dry_run": False},
            {"rules": ["tags", "urls"], "dry_run": False},
        ),
    ],
)
def test_what_does_not_and_what_does_make_up_for_a_failure(airflow, dag_id, failed, other, same):
    runs = Runs(airflow, dag_id)
    runs("failed", "failed", 9, conf=failed)
    runs("other", "success", 8, conf=other)
    assert runs.shown() == ["failed"]
    runs("same", "success", 7, conf={"dry_run": False} if same is None else same)
    assert runs.shown() == []


def test_a_day_to_come_by_mistake_does_not_stand_for_ever(dated):
    dated("mistake", "failed", 24 * 32, conf={"date": "2062-05-14"}, due=24 * 32)
    assert dated.shown() == ["mistake"]
    dated("later", "success", 24, day=1, kind="scheduled")
    assert dated.shown() == []


@pytest.mark.parametrize("conf", [{"date": "2024-13-45"}, {"date": 5}, {"date": ["x"]}, {"date": {}}])
def test_a_conf_that_was_refused(dated, conf):
    dated("refused", "failed", 1, conf=conf)
    assert dated.shown() == ["refused"]


@pytest.mark.parametrize("conf", ["[]", '"text"', "5"])
def test_a_conf_of_another_kind(whole, conf):
    whole("odd", "failed", 1, conf=json.loads(conf))
    assert whole.shown() == ["odd"]


def test_runs_that_have_not_ended_say_nothing(whole):
    whole("failed", "failed", 9)
    whole("waits", "queued", 1)
    whole("runs", "running", 1)
    assert whole.shown() == ["failed"]
