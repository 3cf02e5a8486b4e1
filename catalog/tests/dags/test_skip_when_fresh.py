"""When a reingestion of everything is skipped: by the beginning of the last whole pull, not its load."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from airflow.sdk.exceptions import AirflowSkipException

from catalog.tests.monitoring.reports import report

pytestmark = [pytest.mark.airflow, pytest.mark.database, pytest.mark.enable_socket]
RUN: Any = SimpleNamespace(run_type="scheduled")


@pytest.mark.parametrize("ahead", [-30, 0, 30])  # days of the worker's clock
@pytest.mark.parametrize(("began", "skipped"), [(6, True), (8, False)])
def test_a_pull_that_is_loaded_late_does_not_count_as_fresh(catalog, dsn, monkeypatch, began, skipped, ahead):
    from catalog.dags.groups.ingestion import skip_when_fresh

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
    now = datetime.now(UTC)
    report(catalog, "phylopic", now - timedelta(hours=1), pull_began=now - timedelta(days=began))
    expected = pytest.raises(AirflowSkipException, match=r"a whole pull began on 20.*, less than 7 days ago")
    with expected if skipped else nullcontext(), time_machine.travel(now + timedelta(days=ahead)):
        skip_when_fresh.function("phylopic", 7, RUN)
