"""Reports of runs whose tasks were marked by hand, so that their numbers are missing."""

from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from upath import UPath

from catalog.core.errors import Fatal
from catalog.ingestion.parts import Manifest, Parts
from catalog.loading.report import LoadReport

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize(
    ("states", "values", "marked"),
    [
        ({"g.pull_image_data": "success", "g.load_image_data": "success"}, [{}, {}], []),
        ({"g.pull_image_data": "success", "g.load_image_data": "success"}, [None, {}], ["g.pull_image_data"]),
        ({"g.pull_image_data": "failed", "g.load_image_data": "success"}, [None, {}], []),
        ({"g.pull_image_data": "success", "g.load_image_data": "skipped"}, [{}, None], []),
        ({"g.pull_mixed_data_0": "success", "g.pull_mixed_data_12": "success"}, [{}], ["g.pull_mixed_data"]),
        ({"g.load_photos": "success", "check_configuration": "success"}, [], []),
    ],
)
def test_a_pull_without_a_value_was_marked(monkeypatch, states, values, marked):
    from catalog.dags.tasks import reports

    class Run:
        def xcom_pull(self, task_ids):
            (name,) = task_ids
            return values[:1] if "pull" in name else values[1:]

    monkeypatch.setattr(reports, "task_states", lambda: states)
    assert reports.marked_by_hand(Run()) == marked


def test_what_an_earlier_run_has_loaded_is_not_reported():
    """Such as that of a run that was cleared and could not pull again."""
    from catalog.dags.tasks.reports import loaded_now

    values = {"g.load_image_data": ["new"], "g.load_audio_data": [None]}
    ti: Any = SimpleNamespace(xcom_pull=lambda task_ids, key: values[task_ids[0]] if key == "loaded" else [])
    reports: list[dict[str, Any]] = [{"manifest_token": "new"}, {"manifest_token": "old"}]
    pulling: Any = SimpleNamespace(task_ids=["g.pull_mixed_data", *values, "watcher"])
    assert loaded_now(pulling, ti, reports) == reports[:1]
    of_a_dump: Any = SimpleNamespace(task_ids=["ingest_data.load_image_data", "watcher"])
    assert loaded_now(of_a_dump, ti, reports) == reports


@pytest.mark.parametrize(
    ("repeated", "pulled", "try_number", "skipped"),
    [
        (True, None, 4, True),  # the run was cleared after three attempts, and the pull could not begin
        (True, None, 5, False),  # an attempt was killed after its commit
        (True, {"pages": 2}, 4, False),
        (False, None, 4, False),
    ],
)
def test_a_load_that_finds_nothing_new_does_not_count(
    monkeypatch, tmp_path, repeated, pulled, try_number, skipped
):
    from catalog.dags.tasks import load as module

    began, pushed = datetime(2024, 1, 1, tzinfo=UTC), []
    parts = Parts(UPath(tmp_path), "example", began, None)
    parts.save(Manifest("example", "r", None, False, began, "token", pages=2, complete=True))
    provider = SimpleNamespace(catalog_names={"image": "example"}, expectations=lambda: None)
    report = LoadReport("example", "image", True, 0, 0, 0, 0, {}, {}, {}, 1.0, 1.0)
    context: Any = {
        "params": {},
        "dag_run": SimpleNamespace(dag_id="d", run_id="r"),
        "task": SimpleNamespace(retries=2),
        "ti": SimpleNamespace(
            try_number=try_number, max_tries=5, xcom_push=lambda *value: pushed.append(value)
        ),
    }
    for name, replacement in {
        "ProviderRun": lambda *_: SimpleNamespace(parts=lambda: parts, provider=provider, window=None),
        "get_current_context": lambda: context,
        "catalog_connection": nullcontext,
        "Load": lambda *_, **more: SimpleNamespace(repeated=repeated, run=lambda: report),
        "metrics": Mock(),
    }.items():
        monkeypatch.setattr(module, name, replacement)
    if skipped:
        with pytest.raises(AirflowSkipException, match="all that it had read before was loaded then"):
            module.load("example", "image", 0, pulled)
    else:
        assert module.load("example", "image", 0, pulled)["provider"] == "example"
    assert pushed == ([] if skipped else [("loaded", "token")])


def test_a_folder_that_does_not_hold_what_was_pulled_is_refused(tmp_path):
    from catalog.dags.tasks.load import require_all

    began = datetime(2024, 1, 1, tzinfo=UTC)
    parts = Parts(UPath(tmp_path), "example", began, None)
    manifest = Manifest("example", "r", None, False, began, "one", pages=3, complete=True)
    require_all(manifest, parts, {"pages": 3, "token": "one"})
    require_all(manifest, parts, {"pages": 3})  # of an earlier release
    with pytest.raises(
        Fatal, match="does not hold the pull that has ended, but one that began at 2024-01-01 00"
    ):
        require_all(manifest, parts, {"pages": 3, "token": "another"})
    for found in (None, msgspec.structs.replace(manifest, pages=2)):
        with pytest.raises(Fatal, match=r"the pull has read 3 pages, but .* was emptied, clear the pull"):
            require_all(found, parts, {"pages": 3, "token": "one"})


def test_a_rule_without_numbers_is_named(monkeypatch):
    from catalog.dags import clean_catalog as module

    said: list[str] = []
    monkeypatch.setattr(module, "notify_end", lambda *args, lines, **more: said.extend(lines))
    counted = {"rule": "texts", "media": "image", "changed": 5}
    params = {"rules": ["texts", "tags"], "tables": ["image"], "dry_run": False}
    module.report.function([[{**counted, "left": {"why": 2}}, None], None], params=params)
    module.report.function([[{**counted, "left": None}]], params={**params, "rules": ["texts"]})
    assert said == [
        "  - image, texts: 5; 2 stay: why",
        "  - image, tags: no numbers, because its task failed or was marked as success by hand",
        "  - image, texts: 5; the report of an earlier attempt says what stays",
    ]


def test_a_dry_run_of_several_rules_reports_how_many_rows_there_are(monkeypatch):
    from catalog.dags import clean_catalog as module

    said: list[str] = []
    monkeypatch.setattr(module, "notify_end", lambda *args, lines, **more: said.extend([args[2], *lines]))
    texts = {"rule": "texts", "media": "image", "changed": 5, "again": 0, "left": {}}
    tags = {"rule": "tags", "media": "image", "changed": 4, "again": 3, "left": {}}
    params = {"rules": ["texts", "tags"], "tables": ["image"], "dry_run": True}
    module.report.function([[texts], [tags]], params=params)
    assert said[0].startswith("6 rows would change, each counted once;")
    assert said[1:] == ["  - image, texts: 5", "  - image, tags: 4"]


def test_an_update_that_was_marked_is_not_reported():
    from catalog.dags.batched_update import notify_updated_count

    with pytest.raises(AirflowFailException, match="update_batches was marked as success by hand"):
        notify_updated_count.function(None, params={})


def test_a_version_that_was_marked_is_not_reported():
    from catalog.dags.publish_dataset import report

    with pytest.raises(AirflowFailException, match="publish_version was marked as success by hand"):
        report.function(None, None)
