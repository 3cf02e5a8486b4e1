"""The DAGs as Airflow parses them."""

import json
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from catalog.core.errors import Fatal
from catalog.core.media import MEDIA_TYPES
from catalog.ingestion.registry import api_names, provider_class, provider_names
from catalog.ingestion.windows import day_window
from catalog.tests.values import present

pytestmark = pytest.mark.airflow
ROOT_DAGS = Path(__file__).parents[2] / "dags"


def test_every_file_parses(dagbag):
    assert dagbag.import_errors == {}


@pytest.mark.parametrize(
    ("file", "dag_id", "modules"),
    [
        ("provider_workflows", "stocksnap_workflow", {"stocksnap"}),
        (
            "provider_reingestion",
            "flickr_reingestion_workflow",
            None,
        ),  # whose id only the provider's module has
    ],
)
def test_a_task_makes_no_dag_but_its_own(file, dag_id, modules):
    """Each task parses its DAG's file in a process of its own; here that is another interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(ROOT_DAGS / f"{file}.py"), dag_id],
        capture_output=True,
        text=True,
        check=True,
    )
    made, imported = json.loads(done.stdout.splitlines()[-1])
    assert made == [dag_id]
    assert modules is None or set(imported) == modules


PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager
with _airflow_parsing_context_manager(dag_id=sys.argv[2]):
    bag = DagBag(sys.argv[1], collect_dags=True)
imported = [name.split(".")[2] for name in sys.modules if name.startswith("catalog.providers.")]
print(json.dumps([sorted(bag.dags), imported]))
"""


def test_all_exist(dagbag, registry):
    wanted = {f"{name}_workflow" for name in provider_names()}
    wanted |= {r.dag_id for name in provider_names() if (r := provider_class(name).reingestion)}
    for media_type in MEDIA_TYPES:
        wanted |= {
            f"{media_type}_data_refresh",
            f"{media_type}_popularity_refresh",
            f"create_filtered_{media_type}_index",
            f"recreate_{media_type}_popularity_calculation",
        }
    wanted |= {
        "add_license_url",
        "add_machine_labels",
        "create_proportional_by_source_staging_index",
        "airflow_log_cleanup",
        "batched_update",
        "check_links",
        "check_silenced_dags",
        "clean_catalog",
        "delete_records",
        "flickr_audit_sub_provider_workflow",
        "flickr_thumbnails_removal",
        "oauth2_authorization",
        "oauth2_token_refresh",
        "pr_review_reminders",
        "publish_dataset",
        "recreate_full_staging_index",
        "report_pending_reported_media",
        "rotate_db_snapshots",
        "daily_digest",
        "staging_database_restore",
    }
    for environment in ("production", "staging"):
        wanted |= {
            f"{environment}_elasticsearch_cluster_healthcheck",
            f"point_{environment}_es_alias",
            f"create_new_{environment}_es_index",
        }
    assert set(dagbag.dags) == wanted == set(registry)


@pytest.mark.parametrize("name", api_names())
def test_provider_dags(dagbag, name):
    cls, dag = provider_class(name), dagbag.dags[f"{name}_workflow"]
    media = list(cls.catalog_names)
    assert {
        "provider",
        f"ingestion: {'dated' if cls.dated else 'full'}",
        *(f"provider: {m}" for m in media),
        *media,
    } == set(dag.tags)
    pull = f"ingest_data.pull_{media[0] if len(media) == 1 else 'mixed'}_data"
    assert list(dag.task_ids) == [
        pull,
        *(f"ingest_data.load_{m}_data" for m in media),
        "report_load_completion",
        "watcher",
    ]
    assert dag.get_task(pull).execution_timeout == cls.pull_timeout
    assert dag.max_active_runs == 1
    assert dag.is_paused_upon_creation is True
    assert dag.catchup is False
    assert type(dag.timetable).__name__ == (
        "CronDataIntervalTimetable" if cls.dated else "CronTriggerTimetable"
    )
    assert set(dag.params) == {
        *(["date"] if cls.dated or cls.since else []),
        "limit",
        "initial_query_params",
        "query_params_list",
        "additional_query_params",
        "skip_ingestion_errors",
        "include_deleted",
        "accept_shortfall",
        "replay",
    }


def test_reingestion_maps_days(dagbag):
    dag = dagbag.dags["flickr_reingestion_workflow"]
    assert dag.dagrun_timeout == timedelta(hours=23)
    assert dag.max_active_tasks == 1
    assert len(dag.tasks) < 30
    assert [t for t in dag.task_ids if t.startswith("gather")] == [f"gather_partition_{n}" for n in range(6)]
    assert {str(t.trigger_rule.value) for t in dag.tasks if t.task_id.startswith("gather")} == {"all_done"}
    assert dag.get_task("ingest_every_7_days.pull_image_data").upstream_task_ids == {
        "gather_partition_1",
        "check_configuration",
    }
    assert dag.get_task("ingest_today.pull_image_data").upstream_task_ids == {"check_configuration"}
    load = dag.get_task("ingest_today.load_image_data")
    assert load.upstream_task_ids == {"ingest_today.pull_image_data", "check_configuration"}
    assert load.trigger_rule.value == "all_done_min_one_success"


def test_examples_are_valid(dagbag, registry):
    """The example that ends a DAG's documentation passes its own form."""
    for spec in registry.values():
        conf = json.loads(spec.example.partition("--conf '")[2].rpartition("'")[0] or "{}")
        params = dagbag.dags[spec.dag_id].params
        assert set(conf) <= set(params)
        for key, value in conf.items():
            params.get_param(key).resolve(value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("date", "2024-02-30"),
        ("date", "20240210"),
        ("date", 5),
        ("limit", -1),
        ("limit", "5"),
        ("limit", 1.5),
        ("skip_ingestion_errors", "yes"),
        ("initial_query_params", [1]),
        ("query_params_list", {"a": 1}),
        ("query_params_list", [1]),
        ("replay", ""),
    ],
)
def test_wrong_conf_is_refused(dagbag, key, value):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dagbag.dags["flickr_workflow"].params.get_param(key).resolve(value)


def test_no_form_takes_a_number_that_airflow_cannot_send_on(dagbag):
    """A number beyond 64 bits kills a task before it can log anything."""
    for dag in dagbag.dags.values():
        for key in dag.params:
            schema = dag.params.get_param(key).schema
            if {"integer", "number"} & set(
                schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
            ):
                assert -(2**53) <= schema["minimum"] < schema["maximum"] <= 2**53, (dag.dag_id, key)


def test_no_pattern_lets_a_line_break_follow(dagbag):
    from catalog.dags.common.conf import END

    assert re.search("^a" + END, "a")
    assert not re.search("^a" + END, "a\n")
    patterns = [
        pattern
        for dag in dagbag.dags.values()
        for key in dag.params
        if (pattern := dag.params.get_param(key).schema.get("pattern"))
    ]
    assert [pattern for pattern in patterns if "$" in pattern and not pattern.endswith(END)] == []


@pytest.mark.parametrize(
    ("dag_id", "conf", "message"),
    [
        ("batched_update", {"batch_size": 5.0}, "conf: batch_size is 5.0; write it without a decimal point"),
        ("add_license_url", {"batch_size": 1e3}, "conf: batch_size is 1000.0"),
        ("stocksnap_workflow", {"limit": 5.0}, "conf: limit is 5.0"),
        ("batched_update", {"querry_id": "x"}, "conf: unknown key 'querry_id'; this DAG knows batch_size, "),
        ("stocksnap_workflow", {"date": "2024-02-10"}, "conf: unknown key 'date'; this DAG knows accept_"),
        (
            "flickr_workflow",
            {"date": "0001-01-01"},
            "conf: date is 0001-01-01; give a day from 1970-01-01 on",
        ),
        ("flickr_reingestion_workflow", {"date": "1969-12-31"}, "conf: date is 1969-12-31; give a day from"),
        ("freesound_workflow", {"date": "9999-12-31"}, "conf: date is 9999-12-31, which is to come; give a"),
        ("flickr_reingestion_workflow", {"accept_shortfall": True}, "conf: unknown key 'accept_shortfall'"),
        (
            "stocksnap_workflow",
            {"initial_query_params": {"page": 2}, "query_params_list": [{"page": 3}]},
            "conf: initial_query_params would be ignored, because query_params_list names all",
        ),
        ("recreate_image_popularity_calculation", {"x": 1}, "conf: unknown key 'x'; this DAG takes none"),
        ("report_pending_reported_media", {"x": 1}, "conf: unknown key 'x'; this DAG takes none"),
    ],
)
def test_a_conf_that_airflow_accepts_is_refused_before_the_first_task(dagbag, dag_id, conf, message):
    from airflow.sdk.exceptions import AirflowFailException

    from catalog.dags.dag_factory import before_task

    dag = dagbag.dags[dag_id]
    run = SimpleNamespace(dag_id=dag_id, run_type="manual", conf=conf)
    first = [task for task in dag.tasks if not task.upstream_task_ids]
    assert first
    for task in first:
        with pytest.raises(AirflowFailException, match=re.escape(message)):
            before_task({"dag_run": run, "dag": dag, "task": task})


def test_a_day_that_can_be_pulled_passes(dagbag):
    from catalog.dags.common.conf import check_conf

    today = datetime.now(UTC).date()
    for conf in (
        {"date": None},
        {"date": "1970-01-01"},
        {"date": f"{today}"},
        {"date": f"{today + timedelta(days=9)}", "replay": "/recordings"},
        {"initial_query_params": {"page": 2}, "query_params_list": []},
    ):
        check_conf(conf, dagbag.dags["flickr_workflow"].params)


def test_a_timeout_may_have_a_fraction(dagbag):
    from catalog.dags.common.conf import check_conf

    check_conf({"update_timeout": 1.5, "dry_run": True}, dagbag.dags["batched_update"].params)


def test_documentation_is_shown(dagbag):
    doc = dagbag.dags["flickr_workflow"].doc_md
    assert "| `limit` | integer | `0` |" in doc
    assert doc.rstrip().endswith("`")


def test_timeouts_can_be_overridden(monkeypatch):
    overrides = {
        "stocksnap_workflow": [
            {"task_id_pattern": "pull", "timeout": "1d:2h:3m:4s"},
            {"task_id_pattern": "load", "timeout": "soon"},
        ]
    }
    monkeypatch.setenv("AIRFLOW_VAR_CONFIGURATION_OVERRIDES", json.dumps(overrides))
    monkeypatch.setenv("AIRFLOW_VAR_CATCHUP_ENABLED", "true")
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(collect_dags=True)
    dag = bag.dags["stocksnap_workflow"]
    assert dag.get_task("ingest_data.pull_image_data").execution_timeout == timedelta(
        days=1, hours=2, minutes=3, seconds=4
    )
    assert dag.get_task("ingest_data.load_image_data").execution_timeout == timedelta(hours=1)
    assert bag.dags["flickr_workflow"].catchup is True
    assert bag.dags["flickr_reingestion_workflow"].catchup is False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5d:10h:20m:30s", 469_230),
        ("1h", 3600),
        ("1h30m", None),
        ("", None),
        ("h", None),
        ("0s", None),
        ("9" * 12 + "d", None),
    ],
)
def test_timeout_grammar(text, seconds):
    from catalog.core.setting_values import parse_timeout

    found = parse_timeout(text)
    assert found == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("run_type", "interval", "conf_date", "replay_date", "shift", "day"),
    [
        ("manual", (None, None), None, None, 0, "2024-02-29"),
        ("manual", ("2024-02-27", "2024-02-28"), None, None, 0, "2024-02-27"),
        ("manual", ("2024-02-27", "2024-02-28"), "2020-01-05", None, 0, "2020-01-05"),
        ("manual", ("2024-02-27", "2024-02-28"), None, "2019-05-05", 0, "2019-05-05"),
        ("scheduled", ("2024-02-29", "2024-03-01"), None, None, 0, "2024-02-29"),
        ("backfill", ("2024-01-05", "2024-01-06"), None, "2019-05-05", 0, "2024-01-05"),
        ("scheduled", ("2024-02-18", "2024-02-25"), None, None, 7, "2024-02-11"),
        ("scheduled", ("2024-03-01", "2024-03-01"), None, None, 0, "2024-02-29"),
        ("manual", (None, None), "2024-03-01", None, 1, "2024-02-29"),
    ],
)
def test_windows(run_type, interval, conf_date, replay_date, shift, day):
    """The day that a run covers depends on how it was started.

    A weekly reingestion counts back from the first day of the week.
    """
    from catalog.dags.tasks.provider_run import window_for

    start, end = (None if d is None else datetime.fromisoformat(d + "T00:00:00+00:00") for d in interval)
    run_after = datetime(2024, 3, 1, 5, tzinfo=UTC)
    run = SimpleNamespace(
        run_type=run_type, data_interval_start=start, data_interval_end=end, run_after=run_after
    )
    cls = provider_class("wikimedia_commons" if shift == 7 else "flickr")
    window = window_for(cls, run, conf_date, shift, replay_date)
    assert present(window).day.isoformat() == day
    assert window_for(provider_class("stocksnap"), run, None, shift, replay_date) is None
    with pytest.raises(Fatal, match="stocksnap has no days, it is pulled as a whole; leave out the date"):
        window_for(provider_class("stocksnap"), run, "2024-02-10")


@pytest.mark.parametrize(
    ("provider", "dag_id", "params", "shift", "sentence"),
    [
        ("flickr", "flickr_workflow", {}, 0, 'trigger the DAG with the conf {"date": "2024-02-29", "acc'),
        ("flickr", "flickr_workflow", {"date": "2020-01-05"}, 0, '{"date": "2020-01-05", "accept_shortfall"'),
        (
            "flickr",
            "flickr_reingestion_workflow",
            {},
            7,
            'trigger flickr_workflow with the conf {"date": "2024-02-22", "accept_shortfall": true}: ',
        ),
        (
            "stocksnap",
            "stocksnap_workflow",
            {},
            0,
            'trigger the DAG with the conf {"accept_shortfall": true}',
        ),
        ("freesound", "freesound_workflow", {"date": "2024-02-10"}, 0, '{"date": "2024-02-10", "accept_'),
        (
            "phylopic",
            "phylopic_reingestion_workflow",
            {},
            0,
            'trigger the DAG with the conf {"accept_shortfall": true}',
        ),
    ],
)
def test_a_shortfall_is_accepted_of_the_day_that_fell_short(
    monkeypatch, dagbag, provider, dag_id, params, shift, sentence
):
    """Without its day, the run that accepts it would pull the last one, and accept that."""
    from catalog.dags.tasks import provider_run

    monkeypatch.setattr(provider_run, "show_in_map_index", lambda **_: None)
    run = SimpleNamespace(
        dag_id=dag_id,
        run_type="manual",
        run_after=datetime(2024, 3, 1, 5, tzinfo=UTC),
        data_interval_start=None,
        data_interval_end=None,
    )
    text = provider_run.ProviderRun(provider, {"dag_run": run, "params": params}, shift).accepting()
    assert sentence in text
    own = present(re.search("trigger (the DAG|[a-z_]+)", text))[1]
    conf = json.loads(present(re.search("{.*}", text))[0])
    taken = dagbag.dags[dag_id if own == "the DAG" else own].params
    for key, value in conf.items():
        taken.get_param(key).resolve(value)


def test_freesound_takes_a_day_to_start_from():
    from catalog.dags.tasks.provider_run import window_for

    run = SimpleNamespace(run_type="manual")
    assert window_for(provider_class("freesound"), run, "2024-02-10") == day_window(date(2024, 2, 10))
    assert window_for(provider_class("freesound"), run, None, 0, "2024-02-10") is None


def test_only_tasks_that_may_not_run_twice_have_no_retries(dagbag):
    """A killed task needs an attempt; a refusal is final anyway, because it is an AirflowFailException."""
    once = {
        *((dag_id, "watcher") for dag_id in dagbag.dags),
        ("oauth2_authorization", "authorize_providers"),  # a code is valid once
        # Some refresh tokens are valid once, too.
        *(("oauth2_token_refresh", t.task_id) for t in dagbag.dags["oauth2_token_refresh"].tasks),
        *(
            (f"{m}_popularity_refresh", "refresh_popularity.trigger_batched_update")
            for m in ("image", "audio")
        ),
    }
    found = {(dag.dag_id, t.task_id) for dag in dagbag.dags.values() for t in dag.tasks if not t.retries}
    assert found - once == set()


DAG_FILES = sorted((Path(__file__).parents[2] / "dags").rglob("*.py"))


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.name)
def test_no_file_uses_dates_that_manual_runs_lack(path):
    assert not re.search(r"\bts_nodash\b|\{\{\s*ds\b|context\[.ds.\]", path.read_text())


def test_conflicts_are_mutual(registry):
    """Each of two DAGs would otherwise begin beside the other, depending on which one is first."""
    pairs = {(spec.dag_id, other) for spec in registry.values() for other in spec.conflicts}
    assert len(pairs) > 10
    assert {(b, a) for a, b in pairs} == pairs
    assert {other for _, other in pairs} <= set(registry)
