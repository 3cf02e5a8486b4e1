"""The dashboard behind Airflow's login, in an API server of its own process with login switched on."""

import json
import os
import subprocess
import sys
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.airflow
PROGRAM = """
import json, os
from airflow.utils import db
db.initdb()
root = os.environ["ROOT"]
from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient
with TestClient(create_app(apps="core"), follow_redirects=False) as client:
    def ask(url=root + "/catalog/", **headers):
        answer = client.get(url, headers=headers)
        return [answer.status_code, answer.headers.get("location", ""), answer.text[:15]]
    login = {"username": "viewer", "password": "secret"}
    token = client.post(root + "/auth/token", json=login).json()["access_token"]
    viewer = {"authorization": "Bearer " + token}
    print("RESULT" + json.dumps({
        "program": ask(), "browser": ask(accept="text/html"), "bad token": ask(authorization="Bearer bad"),
        "login": [*ask(url=ask(accept="text/html")[1].removeprefix("http://testserver"))[:2]],
        "viewer": ask(**viewer), "cookie": ask(cookie="_token=" + token),
        "schema": client.get(root + "/catalog/openapi.json", headers=viewer).status_code,
    }))
"""


@pytest.mark.parametrize("path", ["", "/airflow"])
def test_without_a_login_there_is_no_page(tmp_path, path):
    """The auth manager decides where the login page is, below the public address."""
    base = f"http://testserver{path}"
    (tmp_path / "passwords.json").write_text('{"viewer": "secret"}')
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "viewer:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW__API__BASE_URL": base,
        "ROOT": path,
    }
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
    back = quote(f"{base}/catalog/", safe="")
    assert found["browser"][:2] == [302, f"{base}/api/v2/auth/login?next={back}"]
    assert found["login"] == [307, f"{path}/auth/login?next={back}"]
    assert found["bad token"][0] == 403
    assert found["viewer"] == found["cookie"] == [200, "", "<!doctype html>"]
    assert found["schema"] == 404
