"""No step shows records that moderators had deleted when the run began, or before the last one."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.errors import Fatal
from catalog.data_refresh.refresh import begin, reach
from catalog.data_refresh.tables.marks import create_marks, set_mark
from catalog.database.refusals import Found, accept_all
from catalog.moderation.remembered import remember
from catalog.moderation.tables import KINDS
from catalog.publishing import versions
from catalog.tests.data_refresh.test_refresh import plan, turn
from catalog.tests.moderation.test_decisions import decide, forget

pytestmark = [pytest.mark.airflow, pytest.mark.database]
GONE = "the API's table api_matureimage has 0 records, it had 20"
MODERATED = {versions.MODERATED: True, "sensitive_terms": ""}


@pytest.fixture
def emptied(api, api_dsn, dsn, monkeypatch):
    """What was known of decisions, whose table is empty by now."""
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API", api_dsn)
    decide(api, "mature", 20)
    known = remember(api, "image")
    api.execute("delete from api_matureimage")
    return known


@pytest.fixture
def conf(monkeypatch):
    """The conf of the run, which is a new one for each `accept_shrinkage`."""
    from catalog.dags.common import acceptance

    given: dict[str, Any] = {"index_only": False, "accept_shrinkage": False}

    def context():
        run = SimpleNamespace(
            dag_id="create_filtered_image_index",
            run_id=f"run {given['accept_shrinkage']}",
            conf={"destination_index_suffix": "new"},
            clear_number=0,
        )
        return {"params": given, "dag_run": run}

    monkeypatch.setattr(acceptance, "get_current_context", context)
    return given


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_tables_are_not_promoted(catalog, emptied, conf, monkeypatch, mode):
    from catalog.dags.groups import tables

    refresh = begin(catalog, turn(catalog), plan(mode=mode, remembered=emptied))
    monkeypatch.setattr(tables, "current_refresh", lambda *stages: refresh)
    monkeypatch.setattr(tables, "unchanged_terms", lambda digest: [])
    monkeypatch.setattr(tables, "require_complete", lambda refresh: None)
    monkeypatch.setattr(tables, "holding_turn", nullcontext)
    with pytest.raises(Fatal, match=GONE):
        tables.promote_tables.function("image", conf)


def test_tables_that_are_live_already_are_not_asked_about(catalog, api, emptied, conf, monkeypatch):
    """Whether the attempt that has exchanged them could say so, or was ended before."""
    from catalog.dags.groups import tables

    refresh = begin(catalog, turn(catalog), plan(remembered=emptied))
    with pytest.raises(Fatal, match=GONE):
        tables._ask_for_decisions(refresh, api)
    create_marks(api)
    set_mark(api, "image", refresh.number - 1)
    with pytest.raises(Fatal, match=GONE):
        tables._ask_for_decisions(refresh, api)
    set_mark(api, "image", refresh.number)
    tables._ask_for_decisions(refresh, api)
    api.execute("drop table catalog_refresh")
    tables._ask_for_decisions(msgspec.structs.replace(refresh, stage="tables"), api)


@pytest.fixture
def aliases(api_dsn, monkeypatch):
    """The aliases that a run has moved."""
    from catalog.dags.groups import indexing

    moved: list[str] = []
    own = SimpleNamespace(
        point_aliases=lambda api: moved.append("image"), require_findable=lambda judge: None
    )
    monkeypatch.setattr(indexing, "indexes_of", lambda refresh: own)
    monkeypatch.setattr(indexing, "holding_turn", nullcontext)
    monkeypatch.setattr(indexing, "complete", lambda: None)
    monkeypatch.setattr(indexing, "_note_assets", lambda refresh, documents: None)
    monkeypatch.setattr(
        indexing, "database_connection", lambda name, **options: psycopg.connect(api_dsn, **options)
    )
    return moved


@pytest.mark.parametrize("own", [True, False], ids=["of this run", "of the last refresh"])
def test_indexes_do_not_become_live(catalog, emptied, conf, aliases, own):
    from catalog.dags.groups import indexing

    last = begin(catalog, turn(catalog, "last"), plan(remembered=emptied))
    reach(catalog, last, "promoted")
    refresh = begin(catalog, turn(catalog), plan(remembered=emptied if own else None))
    with pytest.raises(Fatal, match=GONE):
        indexing.make_live(refresh)
    assert aliases == []


def test_the_newest_decisions_may_be_undone_while_an_index_is_filled(catalog, api, emptied, conf, aliases):
    """A run that does not remember decisions itself asks for the newest ones at its beginning only."""
    from catalog.dags.groups import indexing
    from catalog.dags.groups.refreshes import refuse_lost_decisions

    decide(api, "mature", 300)
    last = begin(catalog, turn(catalog, "last"), plan(remembered=remember(api, "image")))
    reach(catalog, last, "promoted")
    refresh = begin(catalog, turn(catalog), plan(mode="incremental"))
    forget(api, "mature", "created_on desc", 20)
    with pytest.raises(Fatal, match="lacks 20 of the 20 newest"):
        refuse_lost_decisions(refresh, api, begins=True)
    indexing.make_live(refresh)
    assert aliases == ["image"]


def test_indexes_follow_tables_that_are_live(catalog, emptied, conf, aliases):
    """Rows and documents would differ until a new run ends; the report says what is gone."""
    from catalog.dags import data_refresh
    from catalog.dags.groups import indexing

    begun = plan(remembered=emptied, mode="incremental")
    refresh = msgspec.structs.replace(begin(catalog, turn(catalog), begun), stage="tables")
    indexing.make_live(refresh)
    assert aliases == ["image"]
    [gone] = data_refresh._gone_decisions(refresh.plan)
    assert gone.startswith(f"since the refresh began: {GONE}")
    assert data_refresh._gone_decisions(plan()) == []


@pytest.mark.parametrize("own", [True, False], ids=["of this run", "of the last refresh"])
def test_the_conf_of_a_run_accepts_them(catalog, api, emptied, conf, own):
    """Whatever the run makes live, if it was reported: the message names its own conf."""
    from catalog.dags.groups.refreshes import refuse_lost_decisions

    reach(catalog, begin(catalog, turn(catalog, "last"), plan(remembered=emptied)), "promoted")
    refresh = begin(catalog, turn(catalog), plan(remembered=emptied if own else None))
    wanted = r'trigger create_filtered_image_index .*"destination_index_suffix": "new", "accept_shrinkage"'
    with pytest.raises(Fatal, match=rf"{GONE}.* {wanted}: true\}}"):
        refuse_lost_decisions(refresh, api)
    conf["accept_shrinkage"] = True
    refuse_lost_decisions(refresh, api)
    catalog.execute("truncate refusal")
    with pytest.raises(Fatal, match=rf"{GONE}.*\(not reported before\)"):
        refuse_lost_decisions(refresh, api)


def test_runs_that_are_to_replace_an_index_are_refused_before_their_work(catalog, emptied, conf, monkeypatch):
    from catalog.dags import create_filtered_index, point_es_alias

    reach(catalog, begin(catalog, turn(catalog, "last"), plan(remembered=emptied)), "promoted")
    refresh = begin(catalog, turn(catalog), plan())
    engine = SimpleNamespace(resolve_alias=lambda alias: "image-0")
    for dag in (create_filtered_index, point_es_alias):
        monkeypatch.setattr(dag, "begin_refresh", lambda plan: refresh)
        monkeypatch.setattr(dag, "indexes", lambda *conn_id: engine)
    monkeypatch.setattr(create_filtered_index, "rehearse", lambda *values: None)
    with pytest.raises(Fatal, match=GONE):
        create_filtered_index.plan_filtered_index.function("image", conf)
    with pytest.raises(Fatal, match=rf"{GONE}.*Nothing was changed\.$"):
        point_es_alias.check_target.function("production", conf | {"alias": "image", "index": "image-1"})


def test_a_version_is_not_published(catalog, api, emptied, monkeypatch):
    from catalog.dags import publish_dataset
    from catalog.publishing import versions

    monkeypatch.setattr(publish_dataset, "unchanged_terms", lambda digest: [])
    settings: dict[str, Any] = {"include_sensitive": False}
    decide(api, "mature", 20)
    settings[versions.DECISIONS] = publish_dataset._remembered()
    publish_dataset._refuse_lost_decisions(settings, KINDS)
    version: Any = SimpleNamespace(settings=settings | MODERATED, begun_on=datetime.now(UTC))
    api.execute("delete from api_matureimage")
    with pytest.raises(Fatal, match=GONE):
        publish_dataset._refuse_lost_decisions(settings, KINDS)
    with pytest.raises(Fatal, match=GONE):
        publish_dataset._require_current(version, datetime.now(UTC))
    publish_dataset._require_current(version, datetime.now(UTC), accept_all)
    found: list[Found] = []

    def judge(given):
        found.append(given)
        return accept_all(given)

    publish_dataset._refuse_lost_decisions(settings, KINDS, judge)
    kinds = {kind: len(findings) for kind, findings in found[-1].items()}  # all that is lost, in one message
    assert kinds == {"dataset, audio: decisions": 0, "dataset, image: decisions": 1}
    publish_dataset._refuse_lost_decisions({"decisions": {"image": 410}}, KINDS)  # of an earlier release
    publish_dataset._refuse_lost_decisions({}, KINDS)


def test_marks_that_leave_nothing_out_are_not_missed(api, emptied):
    from catalog.dags import publish_dataset

    known = {versions.DECISIONS: msgspec.to_builtins({"image": emptied})}
    with pytest.raises(Fatal, match=GONE):
        publish_dataset._refuse_lost_decisions(known, publish_dataset._kinds({"include_sensitive": False}))
    publish_dataset._refuse_lost_decisions(known, publish_dataset._kinds({"include_sensitive": True}))


def test_the_newest_decisions_may_be_undone_while_a_version_is_written(catalog, api, emptied, monkeypatch):
    from catalog.dags import publish_dataset

    monkeypatch.setattr(publish_dataset, "unchanged_terms", lambda digest: [])
    decide(api, "mature", 300)
    settings: dict[str, Any] = {"include_sensitive": False}
    settings[versions.DECISIONS] = publish_dataset._remembered()
    version: Any = SimpleNamespace(settings=settings | MODERATED, begun_on=datetime.now(UTC))
    forget(api, "mature", "created_on desc", 20)
    publish_dataset._require_current(version, datetime.now(UTC))
    with pytest.raises(Fatal, match="lacks 20 of the 20 newest"):  # the next run
        publish_dataset._refuse_lost_decisions(settings, KINDS)


@pytest.mark.parametrize(
    ("when", "before", "refused"),
    [
        ("now()", False, True),
        ("now() + interval '9 hours'", False, True),  # of a wrong time zone
        ("now() + interval '1 year'", True, False),  # of a clock that was wrong once
        ("now() + interval '1 year'", False, True),
        ("now() - interval '1 year'", False, True),
    ],
)
def test_decisions_since_a_version_was_begun(catalog, api, emptied, monkeypatch, when, before, refused):
    from catalog.dags import publish_dataset

    monkeypatch.setattr(publish_dataset, "unchanged_terms", lambda digest: [])
    decide(api, "mature", 20)
    if before:
        decide(api, "deleted", 1, when)
    settings: dict[str, Any] = {"include_sensitive": False}
    settings[versions.DECISIONS] = publish_dataset._remembered()
    begun = datetime.now(UTC) - timedelta(days=2)
    version: Any = SimpleNamespace(settings=settings | MODERATED, begun_on=begun, number=7)
    publish_dataset._require_current(version, datetime.now(UTC))
    if not before:
        decide(api, "deleted", 1, when)
    if refused:
        with pytest.raises(AirflowFailException, match=r"have decided about .* since version 7 was"):
            publish_dataset._require_current(version, datetime.now(UTC))
    else:
        publish_dataset._require_current(version, datetime.now(UTC))
