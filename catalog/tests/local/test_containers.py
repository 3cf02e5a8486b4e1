"""What containers are prepared with: Variables that have defaults, secrets that are made up once, names that exist."""

import json
import os
import re

import pytest
import yaml

from catalog.local import secrets
from catalog.local.bootstrap import defaults
from catalog.local.stack import ROOT
from catalog.settings import SETTINGS


def test_variables_with_a_default(monkeypatch):
    for name in [n for n in os.environ if n.startswith("AIRFLOW_VAR_")]:
        monkeypatch.delenv(name)  # the end-to-end stack's, which lasts as long as the tests
    monkeypatch.setenv(
        "AIRFLOW_VAR_DATA_REFRESH_LIMIT", "5"
    )  # given by the environment: the UI could not change it
    found = {name: (value, meaning) for name, value, meaning in defaults()}
    assert found["DATA_REFRESH_INDEX_TASKS"] == ("8", "tasks that fill an index, at most 64")
    assert found["ENVIRONMENT"][0] == "local"
    assert "DATA_REFRESH_LIMIT" not in found
    assert not {"OBJECT_STORAGE", "TAG_POLICY", "API_KEY_…", "postgres_openledger_api"} & set(found)
    for name in ("INGESTION_LIMIT", "PROBE_HTTPS", "PR_REVIEW_REMINDER_DRY_RUN", "CATCHUP_ENABLED"):
        json.loads(found[name][0])
    assert not [m for _, m in found.values() if "](" in m or "`" in m]


@pytest.mark.parametrize(
    "before", ["", "POSTGRES_PASSWORD=kept\nAIRFLOW_VAR_API_KEY_FLICKR=key\nMINIO_PASSWORD=\n"]
)
def test_secrets_are_made_up_once(tmp_path, monkeypatch, before, capsys):
    monkeypatch.setattr(secrets, "ROOT", tmp_path)
    path = tmp_path / ".env"
    if before:
        path.write_text(before)
    secrets.main()
    first = path.read_text()
    secrets.main()
    assert path.read_text() == first
    entries = dict(line.split("=", 1) for line in first.splitlines())
    assert set(entries) >= set(secrets.NAMES)
    assert all(len(entries[n]) > 3 for n in secrets.NAMES)
    assert len({entries[n] for n in secrets.NAMES}) == 4
    if before:
        assert (entries["POSTGRES_PASSWORD"], entries["AIRFLOW_VAR_API_KEY_FLICKR"]) == ("kept", "key")
    assert "kept" not in capsys.readouterr().out


def texts():
    return {
        name: (ROOT / name).read_text()
        for name in ("compose.yml", "docker/Dockerfile", "docs/running_in_production.md")
    }


def test_airflow_knows_every_option_that_is_named():
    """What is misspelt there would be ignored without a word. (Celery's options come with its provider, which is not installed here.)"""
    from airflow.configuration import retrieve_configuration_description

    known = {
        (section, option)
        for section, found in retrieve_configuration_description(include_providers=True).items()
        for option in found["options"]
    }
    named = {
        tuple(m.lower().split("__"))
        for text in texts().values()
        for m in re.findall(r"AIRFLOW__([A-Z_]+[A-Z])", text)
    }
    assert len(named) > 20
    assert {pair for pair in named if not pair[0].startswith("celery")} - known == set()


def test_the_composed_catalog_names_what_exists():
    """Connections are JSON or addresses, Variables are declared, and the services that others wait for say when they are healthy."""
    document = yaml.safe_load(texts()["compose.yml"])
    services = document["services"]
    environment = services["scheduler"]["environment"]
    declared = {s.name for s in SETTINGS}
    for name, value in environment.items():
        if name.startswith("AIRFLOW_CONN_"):
            assert name.removeprefix("AIRFLOW_CONN_").lower() in declared
            assert value.startswith("postgresql://") or json.loads(value)["conn_type"] in ("http", "aws")
        elif name.startswith("AIRFLOW_VAR_"):
            assert name.removeprefix("AIRFLOW_VAR_") in declared
    waited_for = {
        name
        for s in services.values()
        for name, how in s.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert waited_for == {"postgres", "elasticsearch", "minio", "broker"}
    assert all("test" in services[name]["healthcheck"] for name in waited_for)
    assert {n for n, s in services.items() if "distributed" in s.get("profiles", [])} == {"broker", "worker"}
