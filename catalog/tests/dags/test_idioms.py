"""What the UI shows of the DAGs: owners, tags, lineage, names of mapped tasks, links to the dashboard."""

import inspect
import re
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from catalog.core.media import MEDIA_TYPES
from catalog.ingestion.registry import dag_ids, provider_class, provider_names
from catalog.tests.values import present

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="session")
def tasks(dagbag):
    return [task for dag in dagbag.dags.values() for task in dag.tasks]


def test_each_dag_has_the_owner_of_its_family(dagbag, registry):
    from catalog.dags.dag_factory import OWNERS

    for spec in registry.values():
        assert {task.owner for task in dagbag.dags[spec.dag_id].tasks} == {OWNERS[spec.kind]}
    assert {spec.kind for spec in registry.values()} == set(OWNERS)


def test_owners_lead_where_the_setting_says(monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    from catalog.tests.dags.test_dags import ROOT_DAGS

    links = '{"operations": "mailto:on-call@example.org", "search": "https://example.org/search"}'
    monkeypatch.setenv("OWNER_LINKS", links)
    for file, expected in (
        ("check_silenced_dags", {"operations": "mailto:on-call@example.org"}),
        ("batched_update", {}),
    ):
        [dag] = DagBag(ROOT_DAGS / f"{file}.py", collect_dags=True).dags.values()
        assert dag.owner_links == expected


def test_tags_name_the_family_and_the_media_types(dagbag, registry):
    for spec in registry.values():
        tags = set(dagbag.dags[spec.dag_id].tags)
        assert tags & {*MEDIA_TYPES} == {*spec.media_types}, spec.dag_id
        assert spec.kind == "other" or spec.kind in tags
    named = {spec.dag_id for spec in registry.values() for m in MEDIA_TYPES if m in spec.dag_id.split("_")}
    assert [dag_id for dag_id in named if not registry[dag_id].media_types] == []


def test_each_dag_that_makes_indexes_live_has_the_field_that_refusals_advise(dagbag):
    """A conf with a field that the form lacks is refused."""
    live = [
        dag
        for dag in dagbag.dags.values()
        for task in dag.tasks
        if hasattr(task, "python_callable") and "make_live(" in inspect.getsource(task.python_callable)
    ]
    assert len(live) == 2 * len(MEDIA_TYPES) + 3
    assert [dag.dag_id for dag in live if "accept_shrinkage" not in dag.params] == []


def test_forms_say_that_only_what_was_reported_is_accepted(dagbag):
    """Otherwise, people take a run that fails once more for one that has not understood them."""
    forms = {
        f"{dag.dag_id}.{key}": dag.params.get_param(key).schema["description_md"]
        for dag in dagbag.dags.values()
        for key in dag.params
        # What matches no record cannot match fewer, and the other only limits what is accepted.
        if key.startswith("accept_") and key not in ("accept_no_rows", "accept_only")
    }
    assert len(forms) > 10
    assert [name for name, text in forms.items() if "reported" not in text] == []


def test_every_mapped_task_has_a_name_that_is_no_number(tasks):
    mapped = [task for task in tasks if task.is_mapped or task.get_closest_mapped_task_group()]
    assert len(mapped) > 20
    unnamed = [f"{t.dag_id}.{t.task_id}" for t in mapped if "{{" not in (t.map_index_template or "")]
    assert unnamed == []


def test_names_of_mapped_tasks_use_arguments_that_the_tasks_have(tasks):
    """A name that cannot be rendered fails a task that has done its work."""
    used = 0
    for task in tasks:
        if not task.map_index_template:
            continue
        if task.is_mapped:
            given = {**task.partial_kwargs.get("op_kwargs", {}), **dict(task.op_kwargs_expand_input.value)}
        else:
            given = getattr(task, "op_kwargs", {})
        keys = re.findall(r"task\.op_kwargs\.(\w+)", task.map_index_template)
        assert set(keys) <= set(given), f"{task.dag_id}.{task.task_id}"
        used += len(keys)
    assert used > 20


def test_a_result_is_stored_once(tasks):
    """Of a dictionary, Airflow would store each key again, as an XCom of its own, by a request of its own."""
    assert {task.multiple_outputs for task in tasks if hasattr(task, "python_callable")} == {False}


def declared():
    from catalog.dags.common.assets import API, CATALOG, DATASET, FILTERED, INDEX, POPULARITY

    families = (CATALOG, POPULARITY, API, INDEX, FILTERED)
    return [*(asset for assets in families for asset in assets.values()), DATASET]


def names(assets):
    return {asset.name for asset in assets}


def test_assets_have_names_and_addresses_that_stay():
    """Airflow refuses a second asset with one of these names or URIs, and fails the tasks that declare it."""
    assert {(asset.name, asset.uri) for asset in declared()} == {
        (name, f"x-catalog://{name}")
        for name in ["dataset/catalog", *(n for m in MEDIA_TYPES for n in own(m))]
    }


def own(media_type):
    """Return the names of the assets of one media type."""
    index = f"index/{media_type}"
    return [
        f"catalog/{media_type}",
        f"popularity/{media_type}",
        f"api/{media_type}",
        index,
        f"{index}-filtered",
    ]


def test_no_other_asset_is_used_and_none_schedules_a_dag(dagbag, tasks):
    used = [asset for task in tasks for asset in (*task.inlets, *task.outlets)]
    assert names(used) == names(declared())
    assert {a.uri for a in used} == {a.uri for a in declared()}
    from airflow.serialization.encoders import coerce_to_core_timetable

    for dag in dagbag.dags.values():
        assert not list(coerce_to_core_timetable(dag.timetable).asset_condition.iter_assets())


@pytest.mark.parametrize("name", provider_names())
def test_every_load_of_a_provider_writes_the_catalog(dagbag, name):
    for dag_id in dag_ids(provider_class(name)):
        loads = {
            t.task_id: names(t.outlets)
            for t in dagbag.dags[dag_id].tasks
            if t.task_id.rpartition(".")[2] in ("load_image_data", "load_audio_data")
        }
        assert {m for m in MEDIA_TYPES for task in loads if f"load_{m}_data" in task} == {
            *provider_class(name).catalog_names
        }
        for task_id, outlets in loads.items():
            media_type = task_id.rpartition("load_")[2].removesuffix("_data")
            assert outlets == {f"catalog/{media_type}"}


def test_the_lineage_of_each_media_type_is_complete(tasks):
    """From the loads to the filtered index and the dataset, through tasks with an inlet and an outlet."""
    for m in MEDIA_TYPES:
        reached = {f"catalog/{m}"}
        while more := {
            name for task in tasks if names(task.inlets) & reached for name in names(task.outlets) - reached
        }:
            reached |= more
        assert reached == {"dataset/catalog", *own(m)}


def test_tasks_lead_to_their_page_of_the_dashboard(dagbag, monkeypatch):
    from catalog.plugins.plugin import CatalogPlugin

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.org/base/")
    [link] = CatalogPlugin.global_operator_extra_links

    def page(dag_id):
        return link.get_link(None, ti_key=SimpleNamespace(dag_id=dag_id))

    base = "https://airflow.example.org/base/catalog"
    assert page("stocksnap_workflow") == f"{base}/providers/stocksnap"
    assert page("wikimedia_reingestion_workflow") == f"{base}/providers/wikimedia_commons"
    assert page("audio_data_refresh") == f"{base}/refresh?media=audio"
    assert page("create_filtered_image_index") == f"{base}/refresh?media=image"
    families = {"provider", "provider-reingestion", "data_refresh"}
    for dag in dagbag.dags.values():
        assert bool(page(dag.dag_id)) == bool(families & set(dag.tags)), dag.dag_id
    assert page("a_dag_of_another_project") == ""


def test_the_plugin_registers_the_link():
    from airflow import plugins_manager

    assert "Catalog dashboard" in {
        present(link).name for link in plugins_manager.get_global_operator_extra_links()
    }


@pytest.fixture
def executed(dagbag):
    """Return a function that begins a task as Airflow does, and yields the task and its events."""
    from airflow.sdk.execution_time.context import OutletEventAccessors, set_current_context

    from catalog.dags.dag_factory import before_task

    @contextmanager
    def begin(dag_id, task_id):
        dag = dagbag.dags[dag_id]
        task, events = dag.get_task(task_id).prepare_for_execution(), OutletEventAccessors()
        run = SimpleNamespace(dag_id=dag_id, run_type="manual", conf={})
        context: Any = {"dag": dag, "task": task, "dag_run": run, "outlet_events": events}
        with set_current_context(context):
            before_task(context)
            yield task, events

    return begin


def test_an_event_only_for_what_was_written(dagbag, executed):
    """Airflow creates an event for each outlet that the task has when it succeeds."""
    from catalog.dags.common.assets import API, CATALOG, note_written

    with executed("batched_update", "update_batches") as (task, events):
        assert task.outlets == []
        note_written(API["image"], updated=1)  # no outlet of this task
        assert task.outlets == []
        note_written(CATALOG["image"], updated=5, provider=None)
        assert task.outlets == [CATALOG["image"]]
        assert {asset.name: events[asset].extra for asset in events} == {"catalog/image": {"updated": 5}}
    assert names(dagbag.dags["batched_update"].get_task("update_batches").outlets) == names(CATALOG.values())


# SIGTERM does not cancel what these connections execute, so the tasks must ask whether it has come.
OPENS, ASKS = re.compile(r"\b(?:connect|connect_to_catalog)\b"), re.compile(r"\b(?:stoppable|sigterm_flag)\(")


def sources(function, known):
    """Yield the source of a function, and of the functions of the same module that it names."""
    if function in known:
        return
    known.add(function)
    text = inspect.getsource(function)
    yield text
    for name in re.findall(r"\b\w+\b", text):
        other = function.__globals__.get(name)
        if inspect.isfunction(other) and other.__module__ == function.__module__:
            yield from sources(other, known)


def test_all_tasks_can_be_stopped(tasks):
    """When a run is marked as failed, Airflow kills a task five seconds after SIGTERM."""
    deaf = {
        task.task_id.rpartition(".")[2]
        for task in tasks
        for function in [
            task.partial_kwargs.get("python_callable")
            if task.is_mapped
            else getattr(task, "python_callable", None)
        ]
        if function
        for text in ["\n".join(sources(inspect.unwrap(function), set()))]
        if OPENS.search(text) and not ASKS.search(text)
    }
    assert deaf == set()
