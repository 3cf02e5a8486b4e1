"""What containers are prepared with: Variables that have defaults, secrets that are made up once."""

import json
import os

import pytest

from catalog.local import secrets
from catalog.local.bootstrap import defaults


def test_variables_with_a_default(monkeypatch):
    for name in [n for n in os.environ if n.startswith("AIRFLOW_VAR_")]:
        monkeypatch.delenv(name)  # the end-to-end stack's, which lasts as long as the tests
    monkeypatch.setenv("AIRFLOW_VAR_DATA_REFRESH_LIMIT", "5")  # given by the environment: the UI could not change it
    found = {name: (value, meaning) for name, value, meaning in defaults()}
    assert found["DATA_REFRESH_INDEX_TASKS"] == ("8", "tasks that fill an index, at most 64")
    assert found["ENVIRONMENT"][0] == "local"
    assert "DATA_REFRESH_LIMIT" not in found
    assert not {"OBJECT_STORAGE", "TAG_POLICY", "API_KEY_…", "postgres_openledger_api"} & set(found)
    for name in ("INGESTION_LIMIT", "PROBE_HTTPS", "PR_REVIEW_REMINDER_DRY_RUN", "CATCHUP_ENABLED"):
        json.loads(found[name][0])
    assert not [m for _, m in found.values() if "](" in m or "`" in m]


@pytest.mark.parametrize("before", ["", "POSTGRES_PASSWORD=kept\nAIRFLOW_VAR_API_KEY_FLICKR=key\nMINIO_PASSWORD=\n"])
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
