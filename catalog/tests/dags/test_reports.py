"""Reports of runs whose tasks were marked by hand, so that their numbers are missing."""

import pytest
from airflow.sdk.exceptions import AirflowFailException

pytestmark = pytest.mark.airflow


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


def test_an_update_that_was_marked_is_not_reported():
    from catalog.dags.batched_update import notify_updated_count

    with pytest.raises(AirflowFailException, match="update_batches was marked as success by hand"):
        notify_updated_count.function(None, params={})


def test_a_version_that_was_marked_is_not_reported():
    from catalog.dags.publish_dataset import report

    with pytest.raises(AirflowFailException, match="publish_version was marked as success by hand"):
        report.function(None, None)
