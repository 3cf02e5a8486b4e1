"""compose.yml as a reviewer would read it, and the programs that prepare its containers. Needs no Docker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
import sqlalchemy
import yaml
from psycopg.conninfo import conninfo_to_dict

from catalog.containers import bootstrap, secrets
from catalog.containers.bootstrap import defaults
from catalog.containers.with_secrets import PREFIX, resolve
from catalog.core.errors import Fatal
from catalog.core.settings import SETTINGS
from catalog.local.stack import ROOT
from catalog.tests.conftest import database_of_its_own
from catalog.tests.values import present

WILD = "p@s/s w#o'r\"d%$\\ü:?&=[]{}+"
AIRFLOW = ("init", "api-server", "scheduler", "dag-processor", "triggerer", "worker")
ONCE = ("init", "storage")
WRITABLE = {"elasticsearch": "its image writes a keystore into its configuration folder"}
DOCUMENT = yaml.safe_load((ROOT / "compose.yml").read_text())
SERVICES = DOCUMENT["services"]
every_service = pytest.mark.parametrize("name", SERVICES)


def mounted(name):
    """Return the secrets of a service: name in compose.yml by file below /run/secrets."""
    named = SERVICES[name].get("secrets", [])
    return {
        s["target"] if isinstance(s, dict) else s: s["source"] if isinstance(s, dict) else s for s in named
    }


def environment(name):
    return SERVICES[name].get("environment", {})


def script(name):
    """Return the content of our script that a service runs; "" if there is none."""
    words = [
        *SERVICES[name].get("entrypoint", []),
        *(v for v in SERVICES[name].get("volumes", ()) if v.startswith("./")),
    ]
    found = re.findall(r"([a-z]+\.sh)\b", " ".join(words))
    return "".join(p.read_text() for p in (ROOT / "docker").rglob("*.sh") if p.name in found)


@every_service
def test_a_service_may_do_what_it_needs_and_no_more(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert service["read_only"] is (name not in WRITABLE)
    assert not [v for v in service.get("volumes", []) if "docker.sock" in v]
    assert not [v for v in service.get("volumes", []) if v.startswith("./") and not v.endswith(":ro")]


@every_service
def test_a_service_has_its_limits(name):
    service = SERVICES[name]
    assert re.search(r"\d+[mg]\b", service["mem_limit"])
    assert 0 < service["cpus"] <= 2
    assert 0 < service["pids_limit"] <= 2048
    assert service["logging"]["driver"] == "json-file"
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])


@every_service
def test_a_service_has_a_health_check(name):
    service = SERVICES[name]
    if name in ONCE:
        assert service["healthcheck"] == {"disable": True}
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert "HEALTHCHECK" in (ROOT / "docker" / "Dockerfile").read_text()  # of our image
        assert "build" in service or service["healthcheck"]["test"][0] == "CMD"


def test_services_wait_for_healthy_ones():
    waited_for = {
        (name, how["condition"]) for s in SERVICES.values() for name, how in s.get("depends_on", {}).items()
    }
    assert waited_for == {
        (n, "service_healthy") for n in ("postgres", "elasticsearch", "minio", "broker")
    } | {(n, "service_completed_successfully") for n in ONCE}
    assert {n for n, s in SERVICES.items() if "distributed" in s.get("profiles", [])} == {"broker", "worker"}


@every_service
def test_an_image_is_named_by_its_digest(name):
    """Images of the registry and the base images of our own are."""
    image = SERVICES[name]["image"]
    assert "build" in SERVICES[name] or re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}", image)
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=[\w.-]+@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"python:${PYTHON}", "dependencies"}


@every_service
def test_a_service_is_reached_from_where_it_should_be(name):
    networks, ports = SERVICES[name]["networks"], SERVICES[name].get("ports", [])
    assert ("front" in networks) is (name == "api-server") is bool(ports)
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "inside" in networks
    if name not in AIRFLOW:
        assert networks == ["inside"]
    assert DOCUMENT["networks"]["inside"] == {"internal": True}


@every_service
def test_secrets_are_files_that_the_service_uses(name):
    """Each mounted secret is used, each used one is mounted, and none is in the environment."""
    patterns = "".join(v for k, v in environment(name).items() if k.startswith(PREFIX))
    used = set(re.findall(r"\{([a-z_]+)(?:\|\w+)?\}", patterns))
    used |= {s for s in mounted(name) if f"/run/secrets/{s}" in f"{environment(name)}{script(name)}"}
    used |= set(re.findall(r"\$secrets/([a-z_]+)\b", script(name)))
    if name == "postgres":
        roles = ("airflow", "catalog", "catalog_reader", "api", "api_reader", "api_staging", "celery")
        used |= {f"{role}_db_password" for role in roles}
    used |= {"broker_password"} if "broker_password" in script(name) else set()
    assert {s for s in mounted(name) if not s.endswith(".json")} == used
    for key, value in environment(name).items():
        assert "${" not in str(value) or not re.search("PASSWORD|SECRET|KEY", str(value)), key
        if re.search("PASSWORD|SECRET|KEY|TOKEN", key):
            assert key.startswith(PREFIX) or key.endswith("_FILE"), key
    assert "env_file" not in SERVICES[name]


def test_services_get_only_the_secrets_that_they_need():
    """Checked for the most valuable: keys for tokens and connections, superusers, providers' API keys."""

    def holders(secret):
        return {name for name in SERVICES if secret in mounted(name).values()}

    assert holders("jwt_secret") == {"api-server", "scheduler"}
    assert holders("fernet_key") == {"init", "api-server", "scheduler", "dag-processor", "triggerer"}
    assert holders("airflow_db_password") == {"postgres"} | (holders("fernet_key"))
    assert holders("api_secret_key") == set(AIRFLOW)
    assert holders("tasks") == {"scheduler", "worker"}
    assert holders("alerts") == {"scheduler", "worker", "dag-processor", "triggerer"}
    assert holders("settings") == set(AIRFLOW)
    assert holders("postgres_password") == {"postgres"}
    assert holders("search_root_password") == {"elasticsearch", "init"}
    assert holders("storage_root_password") == {"minio", "storage"}
    assert holders("catalog_db_password") == {"postgres", "init", "scheduler", "worker"}
    assert holders("storage_password") == {"storage", "scheduler", "worker"}


def test_every_secret_is_made():
    files = {name: about["file"] for name, about in DOCUMENT["secrets"].items()}
    assert set(files.values()) == {f".secrets/{name}" for name in (*secrets.GENERATORS, *secrets.FILES)}
    assert {*files} == {name for service in SERVICES for name in mounted(service).values()}


@pytest.mark.parametrize("name", AIRFLOW)
def test_settings_of_a_container_are_correct_with_any_password(name, tmp_path):
    """Connections, which are JSON or addresses, are parsed as they were meant; Variables are declared."""
    for secret in mounted(name):
        (tmp_path / secret).write_text("{}" if secret.endswith(".json") else f"{WILD}{secret}\n")
    found = resolve(environment(name), tmp_path)
    declared = {s.name for s in SETTINGS}
    assert not [key for key in found if key.startswith(PREFIX)]
    for key in found:
        if key.startswith("AIRFLOW_VAR_"):
            assert key.removeprefix("AIRFLOW_VAR_") in declared
        if key.startswith("AIRFLOW_CONN_"):
            assert key.removeprefix("AIRFLOW_CONN_").lower() in declared
    for key, pattern in environment(name).items():
        if not key.startswith(PREFIX):
            continue
        value = found[key.removeprefix(PREFIX)]
        wanted = [f"{WILD}{secret}" for secret in re.findall(r"\{([a-z_]+)(?:\|\w+)?\}", pattern)]
        if value.startswith("{"):
            passwords = [v for k, v in json.loads(value).items() if k in ("password", "catalog", "reader")]
            assert passwords == wanted
        elif "://" in value:
            assert [unquote(present(urlsplit(value).password))] == wanted
            if "postgresql" in value:
                plain = re.sub(r"^(db\+)?postgresql(\+\w+)?", "postgresql", value)
                assert conninfo_to_dict(plain)["password"] == wanted[0]
        else:
            assert [value] == wanted


# The entrypoint of the containers.


def run(tmp_path, *arguments, program="entrypoint.sh", **environment):
    (tmp_path / "secrets").mkdir(exist_ok=True)
    base = {
        "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
        "CATALOG_PACKAGE": str(ROOT / "catalog"),
        "SECRETS_FOLDER": str(tmp_path / "secrets"),
        "COMPONENT_FILE": str(tmp_path / "component"),
        "AIRFLOW_HOME": str(tmp_path),
    }
    path = ROOT / "docker" / program if "/" not in program else program
    return subprocess.run(
        ["sh", path, *arguments], env=base | environment, capture_output=True, text=True, timeout=120
    )


SHOW = (
    "import os; "
    "print(*(os.environ.get(name) for name in ('NAME', 'FROM_SECRETS_NAME', 'AIRFLOW_VAR_API_KEY_X')))"
)


def test_the_entrypoint_puts_secrets_in_their_places(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text(f"{WILD}\n")
    (tmp_path / "secrets" / "tasks.json").write_text(json.dumps({"AIRFLOW_VAR_API_KEY_X": WILD}))
    done = run(tmp_path, "python", "-c", SHOW, FROM_SECRETS_NAME="<{key}>")
    assert done.stdout == f"<{WILD}> None {WILD}\n"
    again = "import os, subprocess as s, sys; s.run(['sh', sys.argv[1], 'python', '-c', sys.argv[2]])"
    nested = run(
        tmp_path,
        "python",
        "-c",
        again,
        str(ROOT / "docker" / "entrypoint.sh"),
        SHOW,
        FROM_SECRETS_NAME="<{key}>",
    )
    assert nested.stdout == done.stdout


def test_the_entrypoint_names_a_secret_that_is_missing(tmp_path):
    (tmp_path / "secrets").mkdir()
    done = run(tmp_path, "python", "-c", SHOW, FROM_SECRETS_NAME="{key}")
    assert done.returncode == 1
    assert "NAME needs the secret key, which cannot be read (No such file or directory)" in done.stderr
    assert "Traceback" not in done.stderr
    assert run(tmp_path).returncode == 2
    assert run(tmp_path, "healthy").returncode == 1


def test_the_programs_of_docker_exec_get_the_secrets_too(tmp_path):
    """The image has links with these names first on PATH."""
    links = tmp_path / "links"
    links.mkdir()
    for name in ("airflow", "catalog"):
        (links / name).symlink_to(ROOT / "docker" / "entrypoint.sh")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("k\n")
    done = run(tmp_path, "--help", program=str(links / "catalog"), FROM_SECRETS_NAME="{key}")
    assert "Usage: catalog" in done.stdout
    missing = run(tmp_path, "version", program=str(links / "airflow"), FROM_SECRETS_NAME="{no_key}")
    assert "needs the secret no_key" in missing.stderr
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert all(
        f"ln -s /usr/local/bin/entrypoint /opt/entrypoint/{name}" in dockerfile
        for name in ("airflow", "catalog")
    )
    assert "PATH=/opt/entrypoint:" in dockerfile


@pytest.mark.airflow
@pytest.mark.database
def test_a_component_is_healthy_while_its_own_job_has_a_recent_heartbeat(server, tmp_path, monkeypatch):
    """It is healthy by the rule of `airflow jobs check --local`, in Airflow's own table."""
    from airflow.jobs.job import Job
    from airflow.utils.net import get_hostname

    address = database_of_its_own(server, "empty").replace("postgresql:", "postgresql+psycopg2:")
    engine = sqlalchemy.create_engine(address)
    Job.__table__.create(engine)
    insert = """
        insert into job (job_type, state, hostname, latest_heartbeat)
        values (%s, %s, %s, now() - %s * interval '1 second')
    """
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
    (tmp_path / "component").write_text("triggerer\n")

    def healthy():
        return run(tmp_path, "healthy", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=address).returncode == 0

    with psycopg.connect(address.replace("+psycopg2", ""), autocommit=True) as connection:
        for row in (
            ("TriggererJob", "running", "another", 1),
            ("DagProcessorJob", "running", get_hostname(), 1),
            ("TriggererJob", "failed", get_hostname(), 1),
            ("TriggererJob", "running", get_hostname(), 300),
        ):
            connection.execute(insert, row)
        assert not healthy()
        connection.execute(insert, ("TriggererJob", "running", get_hostname(), 1))
        assert healthy()
    engine.dispose()


# The image's `init`.


def test_variables_with_a_default(monkeypatch):
    for name in [n for n in os.environ if n.startswith("AIRFLOW_VAR_")]:
        monkeypatch.delenv(name)  # set by the end-to-end stack, which lasts as long as the tests
    # A Variable in the environment cannot be changed in the UI, so it is not created there.
    monkeypatch.setenv("AIRFLOW_VAR_DATA_REFRESH_LIMIT", "5")
    found = {name: (value, meaning) for name, value, meaning in defaults()}
    assert found["DATA_REFRESH_INDEX_TASKS"] == ("8", "tasks that fill an index, at most 64")
    assert found["ENVIRONMENT"][0] == "local"
    assert "DATA_REFRESH_LIMIT" not in found
    assert not {"OBJECT_STORAGE", "TAG_POLICY", "API_KEY_…", "postgres_openledger_api"} & set(found)
    for name in ("INGESTION_LIMIT", "PROBE_HTTPS", "PR_REVIEW_REMINDER_DRY_RUN", "CATCHUP_ENABLED"):
        json.loads(found[name][0])
    assert not [m for _, m in found.values() if "](" in m or "`" in m]


RELEASES = """
import dataclasses, json, sqlalchemy
from airflow import settings
from airflow.models import Variable
from airflow.models.base import Base
from catalog.containers import bootstrap
from catalog.core.settings import DATA_REFRESH_COPY_TASKS, DATA_REFRESH_INDEX_TASKS, DATASET_TASKS, SETTINGS

def rows():
    with settings.Session() as session:
        return {row.key: (row.val, row.description) for row in session.scalars(sqlalchemy.select(Variable))}

engine = settings.get_engine()
Base.metadata.create_all(engine)
bootstrap.show_variables()
first = rows()
index, copy, dataset = DATA_REFRESH_INDEX_TASKS, DATA_REFRESH_COPY_TASKS, DATASET_TASKS
# A person has set the default itself, and removed the description of another Variable.
Variable.set(index.name, "8", description=first[index.name][1])
Variable.set(copy.name, "4")
# An earlier release has stored defaults; a person has changed one of them since.
old = {name: (value, meaning) for name, value, meaning in bootstrap.defaults()}
Variable.set("LINK_CHECK_RATE", *old["LINK_CHECK_RATE"])
Variable.set("ENVIRONMENT", "production", old["ENVIRONMENT"][1])
# Airflow's key was lost.
with engine.begin() as connection:
    connection.execute(sqlalchemy.text(
        "update variable set val = 'sealed', is_encrypted = true where key = 'PROBE_HTTPS'"
    ))
bootstrap.SETTINGS = [
    dataclasses.replace(one, value=16) if one in (index, dataset) else one for one in SETTINGS
]
bootstrap.show_variables()
with engine.connect() as connection:
    [(sealed,)] = connection.execute(sqlalchemy.text("select val from variable where key = 'PROBE_HTTPS'"))
print(json.dumps([first, rows(), sealed]))
"""


@pytest.mark.airflow
@pytest.mark.database
def test_defaults_of_a_later_release_take_effect_and_what_people_have_set_stays(server, tmp_path):
    address = database_of_its_own(server, "empty").replace("postgresql:", "postgresql+psycopg2:")
    own = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_VAR_")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address,
        "AIRFLOW__CORE__FERNET_KEY": "cGxlYXNlIGRvIG5vdCB1c2UgdGhpcyBvbmUgLi4uLi4=",
    }
    done = subprocess.run(
        [sys.executable, "-c", RELEASES], env=own, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, later, sealed = json.loads(done.stdout.splitlines()[-1])
    assert {value for value, _ in first.values()} == {""}
    assert first["DATASET_TASKS"] == ["", "tasks that write the dataset, at most 32; empty: 2"]
    assert later["DATASET_TASKS"] == ["", "tasks that write the dataset, at most 32; empty: 16"]
    assert later["DATA_REFRESH_INDEX_TASKS"] == ["8", "tasks that fill an index, at most 64; empty: 8"]
    assert later["DATA_REFRESH_COPY_TASKS"] == ["4", None]
    assert later["LINK_CHECK_RATE"] == first["LINK_CHECK_RATE"]
    assert later["ENVIRONMENT"][0] == "production"
    assert sealed == "sealed"
    changed = {name for name, row in later.items() if row != first[name]}
    assert changed == {
        "DATASET_TASKS",
        "DATA_REFRESH_INDEX_TASKS",
        "DATA_REFRESH_COPY_TASKS",
        "ENVIRONMENT",
        "PROBE_HTTPS",
    }


def test_an_empty_variable_is_not_set():
    for setting in SETTINGS:
        assert setting.decode("") == (setting.value, None)


def test_users_of_the_search_engine(httpserver):
    """They are created by the engine's superuser; the dashboard's user may only read."""
    answers = httpserver.expect_request(re.compile("/_security/.*"), method="PUT")
    answers.respond_with_json({}, headers={"X-Elastic-Product": "Elasticsearch"})
    bootstrap.create_search_users(
        bootstrap.SearchUsers(httpserver.url_for("/"), "elastic", WILD, f"{WILD}1", f"{WILD}2")
    )
    asked = {r.path: (r.authorization, json.loads(r.get_data())) for r, _ in httpserver.log}
    assert {a.password for a, _ in asked.values()} == {WILD}
    assert asked["/_security/user/catalog"][1] == {"password": f"{WILD}1", "roles": ["catalog"]}
    assert asked["/_security/user/catalog_reader"][1] == {"password": f"{WILD}2", "roles": ["catalog_reader"]}
    owner, reader = (asked[f"/_security/role/{name}"][1] for name in ("catalog", "catalog_reader"))
    assert owner["indices"] == [{"names": ["audio*", "image*"], "privileges": ["all"]}]
    assert reader == {
        "cluster": ["monitor"],
        "indices": [
            {"names": ["audio*", "image*"], "privileges": ["read", "view_index_metadata", "monitor"]}
        ],
    }


def test_an_engine_that_refuses_is_named(httpserver):
    httpserver.expect_request(re.compile(".*")).respond_with_json(
        {"error": {"type": "security_exception"}}, status=401, headers={"X-Elastic-Product": "Elasticsearch"}
    )
    given = bootstrap.SearchUsers(httpserver.url_for("/"), "elastic", "wrong", "a", "b")
    with pytest.raises(Fatal, match="the search engine answered 401"):
        bootstrap.create_search_users(given)


NEWER = """
import sqlalchemy
from airflow import settings
from catalog.containers import bootstrap
bootstrap.prepare_airflow_database()
with settings.get_engine().begin() as connection:
    connection.execute(sqlalchemy.text("update alembic_version set version_num = 'ffffffffffff'"))
try:
    bootstrap.prepare_airflow_database()
except bootstrap.Fatal as problem:
    print("REFUSED", problem)
"""


@pytest.mark.airflow
def test_a_newer_airflow_database_is_refused_with_the_command_to_downgrade(tmp_path):
    own = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", NEWER], env=os.environ | own, capture_output=True, text=True, timeout=240
    )
    assert "REFUSED Airflow's database has been upgraded by a newer Airflow" in done.stdout, done.stderr[
        -2000:
    ]
    assert "airflow db downgrade --to-version 3." in done.stdout


# Names of options.


def contents():
    return {
        name: (ROOT / name).read_text()
        for name in (
            "compose.yml",
            "docker/Dockerfile",
            "docs/running_in_production.md",
            "docs/bare_metal.md",
            "docs/metrics.md",
        )
    }


def test_airflow_knows_every_option_that_is_named():
    """A misspelt one would be ignored silently; Celery's are unknown, as its provider is not installed."""
    from airflow.configuration import retrieve_configuration_description

    known = {
        (section, option)
        for section, found in retrieve_configuration_description(include_providers=True).items()
        for option in found["options"]
    }
    named = {
        tuple(m.lower().split("__"))
        for content in contents().values()
        for m in re.findall(r"AIRFLOW__([A-Z_]+[A-Z])", content)
    }
    assert len(named) > 20
    assert {pair for pair in named if not pair[0].startswith("celery")} - known == set()
