"""What a run that points an alias says, whatever happens to its tasks."""

import msgspec
import pytest

from catalog.data_refresh.refresh import CreatedIndex, begin, note_index, reach, read
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.airflow, pytest.mark.database]


def test_a_warning_is_reported_although_the_task_is_killed_after_the_alias_has_moved(
    catalog, dsn, monkeypatch
):
    """Its next attempt finds the alias moved, and has nothing to compare any more."""
    from catalog.dags import point_es_alias as module

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    mine, said, checks = turn(catalog, "alias"), list[list[str]](), list[str]()
    planned = msgspec.structs.replace(
        plan("image-a", mode="alias", live={"image-full": None}, documents={"image-full": {}}),
        aliases={"image-full": "image-a"},
    )
    refresh = begin(catalog, mine, planned)
    note_index(catalog, refresh, "image-a", CreatedIndex("uuid", 5))

    def check(*_):
        checks.append("checked")
        return ["the API does not search image-full"]

    def move(refresh):
        if refresh.stage == "working":
            reach(catalog, refresh, "promoted")
            raise ConnectionError

    monkeypatch.setattr(module, "current_refresh", lambda *stages: read(catalog, mine))
    monkeypatch.setattr(module, "_check", check)
    monkeypatch.setattr(module, "accepted_lines", lambda: ["accepted"])
    monkeypatch.setattr(module, "open_for_search", lambda refresh: None)
    monkeypatch.setattr(module, "make_live", move)
    monkeypatch.setattr(module, "notify", lambda *texts, lines, **more: said.append(lines))
    with pytest.raises(ConnectionError):
        module.point_alias.function("staging")
    module.point_alias.function("staging")
    assert said == [["accepted", "  - the API does not search image-full"]]
    assert checks == ["checked"]
