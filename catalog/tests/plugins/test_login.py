"""The dashboard behind Airflow's login, in an api-server of its own process with login switched on."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.airflow
PROGRAM = """
import json
from airflow.utils import db
db.initdb()
from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient
with TestClient(create_app(apps="core"), follow_redirects=False) as client:
    def ask(**headers):
        answer = client.get("/catalog/", headers=headers)
        return [answer.status_code, answer.headers.get("location", ""), answer.text[:15]]
    token = client.post("/auth/token", json={"username": "viewer", "password": "secret"}).json()["access_token"]
    print("RESULT" + json.dumps({
        "program": ask(), "browser": ask(accept="text/html"), "bad token": ask(authorization="Bearer bad"),
        "viewer": ask(authorization="Bearer " + token), "cookie": ask(cookie="_token=" + token),
        "schema": client.get("/catalog/openapi.json", headers={"authorization": "Bearer " + token}).status_code,
    }))
"""


def test_without_a_login_there_is_no_page(tmp_path):
    (tmp_path / "passwords.json").write_text('{"viewer": "secret"}')
    environment = {
        **os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "viewer:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json"), "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout.partition("RESULT")[2].splitlines()[0])
    assert found["program"][0] == 401
    assert found["browser"][:2] == [302, "/auth/login?next=http%3A%2F%2Ftestserver%2Fcatalog%2F"]
    assert found["bad token"][0] == 403
    assert found["viewer"] == found["cookie"] == [200, "", "<!doctype html>"]
    assert found["schema"] == 404
