"""The registry of metrics, and what names them: tasks, the dashboard and the alerts."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from catalog.core import metrics
from catalog.core.metrics import METRICS
from catalog.ingestion.registry import provider_class, provider_names

CATALOG = Path(__file__).parent.parent
DOCS = CATALOG.parent / "docs"
DASHBOARD = json.loads((DOCS / "grafana" / "catalog.json").read_text())
ALERTS = yaml.safe_load((DOCS / "grafana" / "alerts.yml").read_text())
BY_NAME = {metric.prometheus: metric for metric in METRICS}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
WORDS = {
    "absent",
    "absent_over_time",
    "bool",
    "count",
    "increase",
    "last_over_time",
    "max",
    "or",
    "sum",
    "time",
}


def queries():
    """Return the dashboard's and the alerts' queries by their title."""
    found = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    variables = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    found += [(variable["name"], variable["query"]["query"]) for variable in variables]
    return found + [(rule["alert"], rule["expr"]) for rule in RULES]


def unknown(query):
    """Return the words of a query that are neither declared names nor labels of its metrics nor functions."""
    bare = re.sub(r'"[^"]*"|\[[^]]*\]', "", query)
    names = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", bare)) - WORDS - {"by", "label_values"}
    used = [BY_NAME[name] for name in names if name in BY_NAME]
    labels = set.intersection(*(set(metric.tags) for metric in used)) if used else set()
    return names - set(BY_NAME) - labels or (set() if used else {"no metric"})


def test_nothing_known_is_not_zero():
    """A query that gives a number without any series would call a catalog that reports nothing well."""
    assert [title for title, query in queries() if re.search(r"\b(vector|scalar)\(", query)] == []


@pytest.mark.parametrize(("title", "query"), queries())
def test_a_query_names_only_metrics_and_labels_that_exist(title, query):
    assert unknown(query) == set()


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(airflow_catalog_load_inserted)", {"airflow_catalog_load_inserted"}),
        ("sum by (mode) (airflow_catalog_load_inserted_total)", {"mode"}),
        ('airflow_catalog_refresh_rows{provider="met"}', {"provider"}),
        ("time()", {"no metric"}),
    ],
)
def test_a_wrong_query_is_noticed(query, wrong):
    assert unknown(query) == wrong


def test_counters_are_read_as_counters_and_gauges_as_gauges():
    for title, query in queries():
        counters = re.findall(r"increase\((\w+)", query)
        gauges = re.findall(r"(?:last_over_time|absent_over_time|label_values)\((\w+)", query)
        assert {BY_NAME[name].kind for name in counters} <= {"counter"}, title
        assert {BY_NAME[name].kind for name in gauges} <= {"gauge"}, title
        assert {*counters, *gauges} == set(re.findall(r"airflow_\w+", query)), title


def test_each_metric_is_graphed():
    assert {name for _, query in queries() for name in re.findall(r"airflow_\w+", query)} == set(BY_NAME)


def test_the_dashboard_can_be_imported():
    """It has what Grafana's classic JSON model asks for; its variable chooses the data source."""
    assert DASHBOARD.keys() >= {"title", "uid", "schemaVersion", "time", "templating", "panels", "tags"}
    assert "id" not in DASHBOARD  # the database gives it
    assert re.fullmatch("[A-Za-z0-9_-]{8,40}", DASHBOARD["uid"])
    source = {"type": "prometheus", "uid": "${datasource}"}
    [variable] = [v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource"]
    assert (variable["name"], variable["query"]) == ("datasource", "prometheus")
    known = {v["name"] for v in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__all"} <= known
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"] == source
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [target["refId"] for target in panel["targets"]] == sorted(
            {target["refId"] for target in panel["targets"]}
        )
        assert all(target["datasource"] == source for target in panel["targets"])


def test_panels_do_not_overlap():
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert all(0 <= x < 24 for x, _ in cells)
        assert not taken & cells, panel["title"]
        taken |= cells
    rows = sorted({y for _, y in taken})
    assert all(b - a == 1 for a, b in pairwise(rows))


def test_alerts_say_what_to_do():
    for rule in RULES:
        assert rule["annotations"].keys() == {"summary", "description"}
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= set(
            re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"])))
        )


def test_names_are_those_that_every_receiver_takes():
    """Airflow drops a metric silently if a name or a tag has another character, such as a space."""
    for metric in METRICS:
        assert re.fullmatch(
            r"catalog\.[a-z]+\.[a-z_]+", metric.name
        )  # two parts, as the mapping in docs/metrics.md
        assert all(re.fullmatch("[a-z_]+", tag) for tag in metric.tags)
        assert metric.tags
    assert len(BY_NAME) == len(METRICS)
    names = {name for cls in map(provider_class, provider_names()) for name in cls.catalog_names.values()}
    assert all(re.fullmatch("[A-Za-z0-9_.-]+", name) for name in names)


def test_the_mapping_of_statsd_exporter_makes_the_names_of_the_dashboard():
    text = (DOCS / "metrics.md").read_text()
    [block] = re.findall(r"```yaml\n(mappings:.*?)```", text, re.DOTALL)
    [mapping] = yaml.safe_load(block)["mappings"]
    pattern = re.escape(mapping["match"]).replace(r"\*", "([^.]+)")
    for metric in METRICS:
        if metric.kind == mapping["match_metric_type"]:
            found = re.fullmatch(pattern, f"{metrics.PREFIX}.{metric.name}")
            assert found, metric.name
            assert mapping["name"].replace("${1}", found[1]).replace("${2}", found[2]) == metric.prometheus


def test_each_declared_metric_is_sent():
    declared = {name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
    source = (CATALOG / "dags" / "common" / "metrics.py").read_text()
    assert set(re.findall(r"\bmetrics\.([A-Z_]+)\b", source)) == declared
    assert len(declared) == len(METRICS)
