"""A deletion that finds nothing is no success."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from catalog.core.errors import Refused
from catalog.tests.database.media import fill

pytestmark = [pytest.mark.airflow, pytest.mark.database]


def test_a_condition_that_no_record_matches_is_refused(catalog, dsn, monkeypatch):
    from catalog.dags import delete_records as module

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    monkeypatch.setattr(module, "FirstTime", lambda: nullcontext(False))
    fill(catalog, 3, ("flickr",))
    run, idle = (
        SimpleNamespace(dag_id="delete_records", run_id="1"),
        SimpleNamespace(get_dr_count=lambda *_, **__: 0),
    )

    def check(name, *, dry_run=False):
        conf = {
            "table_name": "image",
            "select_query": f"WHERE provider = '{name}'",
            "reason": "r",
            "dry_run": dry_run,
        }
        return module.check_deletion.function(conf, run, idle)

    for _ in range(2):  # Airflow's next attempt says it as well
        with pytest.raises(Refused, match="select_query: no record of image matches, so nothing was deleted"):
            check("Flickr")
        with pytest.raises(Refused, match="no record of image matches, so nothing would be deleted"):
            check("Flickr", dry_run=True)
    catalog.execute("update image set provider = 'Flickr' where foreign_identifier = 'flickr1'")
    assert check("Flickr") == 1
