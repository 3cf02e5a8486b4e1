"""docs/bare_metal.md, followed as it stands there, against a PostgreSQL server that it knows by its address only.

The commands are run by one `bash -eu` with an empty HOME, in the order of the page. Two kinds of blocks are not:

- `sh lock` installs from a registry, which tests do not reach. The environment of the tests takes its place.
- `sh root` makes a user and tells systemd. The test starts what the units say instead, with the environment that they name.

What else differs are the values of the block `sh settings`, which the page asks its readers to set.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import requests

from catalog.local.demote import free_port
from catalog.local.postgres import Postgres
from catalog.local.stack import COMPONENTS, ROOT
from catalog.tests.e2e.conftest import until

PAGE = ROOT / "docs" / "bare_metal.md"
BLOCK = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVICES = "the services are to be started now"
SECONDS = 600  # a bound, for a machine that does much else
# In place of the hashed lock: what is installed for the tests, and Airflow's command.
STAND_IN = """
python3 -m venv "$PREFIX/program"
echo {packages} >"$(echo "$PREFIX"/program/lib/python*/site-packages)/tests.pth"
printf '%s\\n' "#!$PREFIX/program/bin/python" 'from airflow.__main__ import main' 'main()' >"$PREFIX/program/bin/airflow"
chmod 755 "$PREFIX/program/bin/airflow"
export PIP_NO_INDEX=1
"""


def blocks():
    """(language, kind, text) of each fenced block of the page."""
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def settings():
    """Names that the page asks its readers to set, with its own examples."""
    [text] = [text for language, kind, text in blocks() if (language, kind) == ("sh", "settings")]
    return dict(line.partition("=")[::2] for line in text.splitlines())


def script(values):
    """The page's commands with other settings; it waits for a line of its input where the services are started."""
    parts = []
    for language, kind, text in blocks():
        if language != "sh":
            continue
        if kind == "settings":
            text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        elif kind == "lock":
            text = STAND_IN.format(packages=shlex.quote(str(Path(pytest.__file__).parent.parent)))
        elif kind == "root":
            text = f"echo '{SERVICES}'; read -r _\n" if "systemctl enable" in text else ""
        parts.append(text)
    return "\n".join(parts)


@pytest.fixture
def folder():
    found = Path(tempfile.mkdtemp(prefix="catalog-bare-metal-", dir="/var/tmp"))
    found.chmod(0o755)
    yield found
    subprocess.run(["rm", "-rf", str(found)], check=True)


@pytest.fixture
def postgres(folder):
    """A server, and its superuser's address as somebody would write it."""
    server = Postgres(folder / "postgres", "first", durable=False)
    server.start()
    password = "sup@r/u#s'e%r"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("alter role postgres password {}").format(psycopg.sql.Literal(password))
        )
    yield server, f"postgresql://postgres:{quote(password, safe='')}@127.0.0.1:{server.port}"
    server.stop()


def unit(text):
    """The entries of a unit, those of all its sections."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def environment_file(path):
    """What systemd reads in an environment file, as far as it has single quotes only."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        assert re.fullmatch(r"'[^']*'", value), f"{name} would be read differently by systemd and by a shell"
        found[name] = value[1:-1]
    return found


@contextmanager
def services(prefix, home, logs):
    """What systemd would do with the page's units. Yields name → process."""
    running = {}
    try:
        for path in sorted((prefix / "units").iterdir()):
            entries = unit(path.read_text())
            with (logs / f"{path.stem}.log").open("wb") as log:
                running[path.stem.removeprefix("media-catalog-")] = subprocess.Popen(
                    shlex.split(entries["ExecStart"]),
                    cwd=entries["WorkingDirectory"],
                    env={
                        "PATH": os.defpath,
                        "HOME": str(home),
                        **environment_file(Path(entries["EnvironmentFile"])),
                    },
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        yield running
    finally:
        for name in sorted(
            running, key=lambda name: name != "scheduler"
        ):  # first, as `After=` has systemd do
            running[name].terminate()
            try:
                running[name].wait(60)
            finally:
                with_its_group(running[name])


def with_its_group(process):
    """What is left of a service; systemd ends all of its control group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_page_names_what_it_uses():
    """Each setting is used, and none is missing; the blocks that are not run are those that are meant."""
    text = "\n".join(text for _, kind, text in blocks() if kind != "settings")
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)\b", text))
    assert used - {"PATH"} == set(settings())
    kinds = [kind for language, kind, _ in blocks() if language == "sh"]
    assert (kinds.count("settings"), kinds.count("lock"), kinds.count("root")) == (1, 1, 2)


@pytest.mark.e2e
@pytest.mark.enable_socket
@pytest.mark.timeout(1500)
def test_the_page_is_followed(folder, postgres):
    server, address = postgres
    home, prefix = folder / "home", folder / "srv"
    for made in (home, prefix):
        made.mkdir()
    values = {
        "PREFIX": str(prefix),
        "SOURCE": str(ROOT),
        "POSTGRES": address,
        "POSTGRES_HOST": f"127.0.0.1:{server.port}",
        "AIRFLOW_PASSWORD": "a@i/r#f'l%o w$1",
        "CATALOG_PASSWORD": "c@a/t#a'l%o:g?\\",
        "API_PASSWORD": "a@p/i#\"'%&=",
        "UI_PORT": str(free_port()),
    }
    assert list(values) == list(settings())
    (folder / "script.sh").write_text(script(values))
    environment = {
        "HOME": str(home),
        "PATH": f"{Path(sys.base_prefix) / 'bin'}:{server._programs()}:{os.defpath}",
    }
    log = folder / "output.log"
    with log.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-eu", str(folder / "script.sh")],
            cwd=home, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: SERVICES in log.read_text() or shell.poll() is not None, SECONDS)
        assert shell.poll() is None, log.read_text()
        mode = (prefix / "environment").stat().st_mode
        assert mode & 0o777 == 0o600
        with services(prefix, home, folder) as running:
            assert set(running) == set(COMPONENTS)
            shell.communicate(b"\n", SECONDS)
            assert shell.returncode == 0, log.read_text()
            assert_works(prefix, values, log.read_text())
        assert {name: process.returncode for name, process in running.items()} == dict.fromkeys(COMPONENTS, 0)
    finally:
        with_its_group(shell)
        print(log.read_text())


def assert_works(prefix, values, output):
    """The DAG has run, `catalog providers` shows it, the UI asks for a login, and roles have their own databases only."""
    assert re.search(r" trial +success ", output)
    [line] = [line for line in output.splitlines() if re.search(r"\bstocksnap\b.*@monthly", line)]
    assert re.search(r"[1-9]\d* new", line)
    base = f"http://127.0.0.1:{values['UI_PORT']}"
    session = requests.Session()
    session.trust_env = False
    assert session.get(f"{base}/api/v2/dags", timeout=30).status_code == 401
    passwords = json.loads((prefix / "airflow" / "passwords.json").read_text())
    login = {"username": "admin", "password": passwords["admin"]}
    token = session.post(f"{base}/auth/token", json=login, timeout=30).json()["access_token"]
    found = session.get(
        f"{base}/api/v2/importErrors", headers={"Authorization": f"Bearer {token}"}, timeout=30
    )
    assert found.json()["total_entries"] == 0
    airflow = f"postgresql://airflow:{quote(values['AIRFLOW_PASSWORD'], safe='')}@{values['POSTGRES_HOST']}"
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"{airflow}/catalog")
    with psycopg.connect(f"{airflow}/airflow") as connection:
        assert connection.execute("select slots from slot_pool where pool = 'data_refresh'").fetchone() == (
            1,
        )
    api = f"postgresql://api:{quote(values['API_PASSWORD'], safe='')}@{values['POSTGRES_HOST']}/api"
    with psycopg.connect(api) as connection:
        assert connection.execute("select count(*) from image").fetchone() == (0,)
