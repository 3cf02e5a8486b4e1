"""No step shows records that moderators had deleted when the run began, or before the last one."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.decisions import remember
from catalog.data_refresh.refresh import begin, reach
from catalog.tests.data_refresh.test_decisions import decide
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.airflow, pytest.mark.database]
GONE = "the API's table api_matureimage has 0 records, it had 20"


@pytest.fixture
def emptied(api, api_dsn, dsn, monkeypatch):
    """What was known of decisions, whose table is empty by now."""
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API", api_dsn)
    decide(api, "mature", 20)
    known = remember(api, "image")
    api.execute("delete from api_matureimage")
    return known


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_tables_are_not_promoted(catalog, emptied, monkeypatch, mode):
    from catalog.dags.groups import tables

    refresh = begin(catalog, turn(catalog), plan(mode=mode, remembered=emptied))
    monkeypatch.setattr(tables, "current_refresh", lambda *stages: refresh)
    monkeypatch.setattr(tables, "unchanged_terms", lambda digest: [])
    monkeypatch.setattr(tables, "require_complete", lambda refresh: None)
    monkeypatch.setattr(tables, "holding_turn", nullcontext)
    with pytest.raises(Fatal, match=GONE):
        tables.promote_tables.function("image", {"index_only": False, "accept_shrinkage": False})


@pytest.mark.parametrize("step", ["make_live", "update_live_indexes"])
@pytest.mark.parametrize("own", [True, False], ids=["of this run", "of the last refresh"])
def test_indexes_do_not_become_live(catalog, api_dsn, emptied, monkeypatch, step, own):
    from catalog.dags.groups import indexing

    last = begin(catalog, turn(catalog, "last"), plan(remembered=emptied))
    reach(catalog, last, "promoted")
    refresh = begin(catalog, turn(catalog), plan(remembered=emptied if own else None))
    monkeypatch.setattr(indexing, "indexes_of", lambda refresh: SimpleNamespace())
    monkeypatch.setattr(indexing, "holding_turn", nullcontext)
    monkeypatch.setattr(indexing, "get_current_context", SimpleNamespace)
    monkeypatch.setattr(indexing, "TaskStateCheckpoint", lambda *values: SimpleNamespace())
    monkeypatch.setattr(
        indexing, "database_connection", lambda name, **options: psycopg.connect(api_dsn, **options)
    )
    with pytest.raises(Fatal, match=GONE):
        getattr(indexing, step)(refresh)


def test_a_version_is_not_published(catalog, api, emptied):
    from catalog.dags import publish_dataset
    from catalog.publishing import versions

    settings: dict[str, Any] = {"include_sensitive": False}
    decide(api, "mature", 20)
    settings[versions.DECISIONS] = publish_dataset._remembered()
    publish_dataset._refuse_lost_decisions(settings)
    api.execute("delete from api_matureimage")
    with pytest.raises(Fatal, match=f"{GONE}.* trigger publish_dataset with the conf"):
        publish_dataset._refuse_lost_decisions(settings)
    publish_dataset._refuse_lost_decisions({"decisions": {"image": 410}})  # of an earlier release
    publish_dataset._refuse_lost_decisions({})
