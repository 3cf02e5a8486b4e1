"""What a healthcheck of a search engine reports and remembers, whatever happens in between."""

from types import SimpleNamespace

import pytest

from catalog.monitoring.cluster_state import Cluster, Problem

pytestmark = pytest.mark.airflow
WELL = Cluster("well", (), "status green")
YELLOW = Cluster("degraded", (Problem("status yellow", "replicas are missing"),), "status yellow")
ABSENT = Cluster("not configured")


class Watched:
    """A healthcheck of an engine whose state a test sets; Variables are a dictionary, messages a list."""

    def __init__(self, monkeypatch):
        from catalog.dags import elasticsearch_cluster_healthcheck as module

        self.found, self.variables, self.sent, self.refused = WELL, dict[str, str](), list[str](), False
        ti = SimpleNamespace(dag_id="staging_elasticsearch_cluster_healthcheck", task_id="check_cluster")
        store = SimpleNamespace(
            get=lambda name, default=None: self.variables.get(name, default),
            set=lambda name, value, description: self.variables.update({name: value}),
        )
        monkeypatch.setattr(module, "Variable", store)
        monkeypatch.setattr(module, "get_current_context", lambda: {"ti": ti})
        monkeypatch.setattr(module, "_look", lambda environment, before: self.found)
        monkeypatch.setattr(module, "try_to_send", self._send)
        self.check = lambda: module.check_cluster.function("staging")

    def _send(self, message):
        from catalog.dags.operators.slack import Unsent

        if self.refused:
            return Unsent("Slack could not be reached", temporary=True)
        self.sent.append(message.summary)
        return None


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


def test_a_change_is_reported_once_in_each_direction(watched):
    for watched.found in (WELL, WELL, YELLOW, YELLOW, WELL, WELL):
        watched.check()
    engine = "The staging search engine is"
    assert watched.sent == [f"{engine} degraded.", f"{engine} well."]


def test_a_change_that_could_not_be_reported_is_reported_later(watched):
    from airflow.sdk.exceptions import AirflowException

    watched.check()
    watched.found, watched.refused = YELLOW, True
    for _ in range(2):
        with pytest.raises(AirflowException, match="Slack could not be reached; the change is reported by"):
            watched.check()
    watched.refused = False
    watched.check()
    assert len(watched.sent) == 1


def test_an_engine_without_a_connection(watched):
    """It is skipped each time. One that was watched before is reported, once; then it may come back."""
    from airflow.sdk.exceptions import AirflowSkipException

    def skipped():
        with pytest.raises(AirflowSkipException, match="no connection elasticsearch_http_staging, so the"):
            watched.check()

    watched.found = ABSENT
    skipped()
    assert (watched.sent, watched.variables) == ([], {})
    watched.found = WELL
    watched.check()
    watched.found = ABSENT
    skipped()
    skipped()
    assert watched.sent == ["The staging search engine is not configured."]
    watched.found = WELL
    watched.check()
    assert watched.sent[1:] == ["The staging search engine is well."]


@pytest.mark.parametrize("stored", ["", "{", '{"state": "excellent"}', "[]"])
def test_a_remembered_state_that_cannot_be_read_counts_as_none(watched, stored):
    watched.variables["search_engine_health_staging"] = stored
    watched.found = YELLOW
    watched.check()
    watched.check()
    assert len(watched.sent) == 1
