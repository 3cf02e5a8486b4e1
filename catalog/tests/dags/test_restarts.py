"""What has to run again with the cleared tasks of a run that has ended does, in Airflow's own database."""

from datetime import UTC, datetime

import pytest

from catalog.plugins.restarts import on_dag_run_running

pytestmark = pytest.mark.airflow

STOCKSNAP, REINGESTION = "stocksnap_workflow", "wikimedia_reingestion_workflow"
PULL, LOAD, REPORT = "ingest_data.pull_image_data", "ingest_data.load_image_data", "report_load_completion"
MONTH = "ingest_every_30_days"
DELETION = {"table_name": "image", "select_query": "WHERE provider = 'flickr'", "reason": "takedown"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def session(tmp_path):
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    import_all_models()
    engine = create_engine(f"sqlite:///{tmp_path}/airflow.db")
    Base.metadata.create_all(engine)
    with sessionmaker(engine, expire_on_commit=False)() as session:
        yield session
    engine.dispose()


@pytest.fixture
def ended(session, dagbag):
    """Return a function that makes a run of a DAG that has ended, with the states of some of its tasks."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    def make(dag_id, state="success", conf=None, **states):
        dag = dagbag.dags[dag_id]
        session.add(DagBundleModel(name="dags-folder"))
        session.flush()
        model = DagModel(dag_id=dag_id, bundle_name="dags-folder", relative_fileloc="file.py")
        model.max_active_runs, model.is_paused, model.is_stale = 1, False, False
        session.add(model)
        session.flush()
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), "dags-folder", session=session)
        run = DagSerialization.from_dict(DagSerialization.to_dict(dag)).create_dagrun(
            run_id="ended",
            run_after=NOW,
            logical_date=NOW,
            data_interval=(NOW, NOW),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=state,
            conf=conf,
            session=session,
        )
        for ti in run.get_task_instances(session=session):
            ti.state = states.get(ti.task_id, "skipped" if ti.task_id == "watcher" else "success")
        session.flush()
        return run

    return make


def states(run, session):
    session.expire_all()
    return {(ti.task_id, ti.map_index): ti.state for ti in run.get_task_instances(session=session)}


def clear(run, session, *keys):
    """Clear single tasks, as Airflow's UI does, and let the scheduler start the run."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.taskinstance import clear_task_instances

    cleared = [ti for ti in run.get_task_instances(session=session) if (ti.task_id, ti.map_index) in keys]
    assert len(cleared) == len(keys)
    clear_task_instances(cleared, session)
    assert run.state == "queued"
    SchedulerJobRunner(Job(), executors=[])._start_queued_dagruns(session)
    assert run.state == "running"


def end(run, session, **outcomes):
    """Let the scheduler begin what may begin, and end it as told, until the run has ended."""
    begun = []
    for _ in range(20):
        ready, _ = run.update_state(session=session, execute_callbacks=False)
        for ti in ready:
            begun.append((ti.task_id, ti.map_index))
            ti.state = "failed" if ti.task_id == "watcher" else outcomes.get(ti.task_id, "success")
        session.flush()
        if run.state != "running":
            break
    return begun


@pytest.mark.parametrize("task_id", [PULL, LOAD, REPORT])
def test_a_task_that_is_cleared_alone_and_fails_makes_the_run_fail(session, ended, task_id):
    run = ended(STOCKSNAP)
    clear(run, session, (task_id, -1))
    begun = end(run, session, **{task_id: "failed"})
    assert (run.state, begun[0], begun.count(("watcher", -1))) == ("failed", (task_id, -1), 1)


def test_a_failed_run_of_which_the_failed_task_is_cleared_alone_succeeds(session, ended):
    run = ended(STOCKSNAP, state="failed", **{LOAD: "failed", "watcher": "failed"})
    clear(run, session, (LOAD, -1))
    assert end(run, session) == [(LOAD, -1)]
    assert (run.state, states(run, session)["watcher", -1]) == ("success", "skipped")


@pytest.mark.parametrize("loaded", ["skipped", "success", "failed"])
def test_a_pull_that_is_cleared_alone_is_loaded_and_reported(session, ended, loaded):
    run = ended(
        STOCKSNAP, state="failed", **{PULL: "failed", LOAD: loaded, REPORT: "skipped", "watcher": "failed"}
    )
    clear(run, session, (PULL, -1))
    assert end(run, session) == [(PULL, -1), (LOAD, -1), (REPORT, -1)]
    assert run.state == "success"


def test_a_day_of_a_reingestion_is_read_and_loaded_by_itself(session, ended):
    run = ended(REINGESTION)
    pull, *loads = (f"{MONTH}.{name}" for name in ("pull_mixed_data", "load_image_data", "load_audio_data"))
    clear(run, session, (pull, 2))
    *begun, first, second = end(run, session)
    assert begun[0] == (pull, 2)
    assert set(begun[1:]) == {(load, 2) for load in loads}
    assert (first[0], second[0]) == ("report_aggregate_reingestion_errors", REPORT)
    assert run.state == "success"


def begun(run, session, *task_ids, skipped_itself=True):
    """Let tasks of a run have begun, and have ended once as they are; skipped ones by themselves."""
    from airflow.models.xcom import XComModel

    for ti in run.get_task_instances(session=session):
        if ti.task_id in task_ids:
            ti.try_number, ti.start_date, ti.end_date = 1, NOW, NOW
            if skipped_itself and ti.state == "skipped":
                of_task = {"task_id": ti.task_id, "dag_id": run.dag_id, "run_id": run.run_id}
                XComModel.set("skipped", 1, **of_task, map_index=ti.map_index, session=session)
    session.flush()


@pytest.mark.parametrize("at_work", ["running", "scheduled"])
def test_what_a_run_skipped_because_it_was_marked_as_failed_is_done(session, ended, at_work):
    """Also if only the failed tasks are cleared."""
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed

    run = ended("delete_records", state="running", conf=DELETION)
    names = [ti.task_id for ti in run.get_task_instances(session=session)]
    others = {*names} - {"check_deletion"}
    for ti in run.get_task_instances(session=session):
        ti.state = None if ti.task_id in others else at_work
    begun(run, session, "check_deletion")
    set_dag_run_state_to_failed(dag=run.get_dag(), run_id=run.run_id, commit=True, session=session)
    session.flush()
    assert {states(run, session)[name, -1] for name in others} == {"skipped"}
    clear(run, session, ("check_deletion", -1))
    assert {name for name, _ in end(run, session)} == {*names} - {"watcher"}
    assert run.state == "success"


@pytest.mark.parametrize("at", ["first try", "work", "a later try", "a try after it skipped itself"])
def test_what_a_run_skipped_while_it_waited_or_worked_is_done(session, ended, at):
    """When it timed out, or was marked as failed. Airflow has set the times of these tasks."""
    late = {
        f"{MONTH}.{name}": "skipped" for name in ("pull_mixed_data", "load_image_data", "load_audio_data")
    }
    run = ended(REINGESTION, state="failed", **late)
    begun(run, session, *late, skipped_itself=at == "a try after it skipped itself")
    for ti in run.get_task_instances(session=session):
        if ti.task_id in late:
            if at == "work":
                ti.end_date = None
            if at.startswith("a "):
                ti.prepare_db_for_next_try(session)
            if at == "a later try":
                ti.try_number = 2
    session.flush()
    clear(run, session, (f"{MONTH}.pull_mixed_data", 0))
    done = end(run, session)
    assert {key for key in done if key[0] in late} == {key for key in states(run, session) if key[0] in late}
    assert run.state == "success"


def test_what_the_tasks_before_it_skip_is_skipped_again(session, ended):
    """A dry run of a deletion has ended as it should; when its first task is cleared, it ends so again."""
    run = ended("delete_records", conf=DELETION)
    for ti in run.get_task_instances(session=session):
        ti.state = "success" if ti.task_id == "check_deletion" else "skipped"
    begun(run, session, "check_deletion", "delete_records_from_media_table")
    before = states(run, session)
    clear(run, session, ("check_deletion", -1))
    done = end(run, session, delete_records_from_media_table="skipped")
    assert done == [("check_deletion", -1), ("delete_records_from_media_table", -1)]
    assert (run.state, states(run, session)) == ("success", before)


def test_a_task_that_skipped_itself_stays_as_it_is_when_another_is_cleared(session, ended):
    fresh = f"{MONTH}.pull_mixed_data"
    run = ended(REINGESTION, **{fresh: "skipped"})
    begun(run, session, fresh)
    clear(run, session, (REPORT, -1))
    assert end(run, session) == [(REPORT, -1)]


def test_a_run_that_is_not_cleared_begins_as_it_is(session, ended):
    run = ended(STOCKSNAP)
    before = states(run, session)
    run.state, run.queued_at = "queued", NOW
    session.flush()
    on_dag_run_running(run)
    assert states(run, session) == before
