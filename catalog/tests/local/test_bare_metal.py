"""docs/bare_metal.md, followed literally, with a PostgreSQL server that it knows only by its address.

The commands run in one `bash -eu` with an empty HOME, in the order of the page. Two kinds of blocks are
replaced:

- `sh lock` installs from a registry, which tests do not reach: the tests' own environment is used.
- `sh root` creates a user and systemd units: the test starts the commands of the units, with their
  environment.

The values of the block `sh settings`, which the page asks its readers to set, are the test's own.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import requests

from catalog.local.ports import free_port
from catalog.local.postgres import Postgres
from catalog.local.stack import COMPONENTS, ROOT
from catalog.tests.folders import folder_for_servers
from catalog.tests.pages import blocks
from catalog.tests.waiting import until

PAGE = ROOT / "docs" / "bare_metal.md"
SERVICES = "the services are to be started now"
SECONDS = 600  # a limit for a busy machine
# In place of the hashed lock: what is installed for the tests, and Airflow's command.
INSTALL = """
python3 -m venv "$PREFIX/program"
echo {packages} >"$(echo "$PREFIX"/program/lib/python*/site-packages)/tests.pth"
printf '%s\\n' "#!$PREFIX/program/bin/python" 'from airflow.__main__ import main' 'main()' \\
    >"$PREFIX/program/bin/airflow"
chmod 755 "$PREFIX/program/bin/airflow"
export PIP_NO_INDEX=1
"""


def settings():
    """Return the settings that the page asks its readers to set, with the page's examples."""
    [text] = [text for language, kind, text in blocks(PAGE) if (language, kind) == ("sh", "settings")]
    return dict(line.partition("=")[::2] for line in text.splitlines())


def script(values):
    """Return the page's commands with other settings; the script reads a line where services are started."""
    parts = []
    for language, kind, text in blocks(PAGE):
        if language != "sh":
            continue
        if kind == "settings":
            text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        elif kind == "lock":
            text = INSTALL.format(packages=shlex.quote(str(Path(pytest.__file__).parent.parent)))
        elif kind == "root":
            text = f"echo '{SERVICES}'; read -r _\n" if "systemctl enable" in text else ""
        parts.append(text)
    return "\n".join(parts)


@pytest.fixture
def folder():
    found = folder_for_servers("catalog-bare-metal-")
    yield found
    subprocess.run(["rm", "-rf", str(found)], check=True)


@pytest.fixture
def postgres(folder):
    """Start a server; yield it with its superuser's address, as an operator would write it."""
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
    """Return the entries of all sections of a unit."""
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def environment_file(path):
    """Parse an environment file as systemd does; only values between single quotes are allowed."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        assert re.fullmatch(r"'[^']*'", value), f"{name} would be read differently by systemd and by a shell"
        found[name] = value[1:-1]
    return found


@contextmanager
def services(prefix, home, logs):
    """Run the page's units as systemd would; yield the processes by name."""
    running, patience = {}, {}
    try:
        for path in sorted((prefix / "units").iterdir()):
            entries = unit(path.read_text())
            patience[path.stem.removeprefix("media-catalog-")] = float(entries["TimeoutStopSec"])
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
        # The scheduler ends first, as `After=` makes systemd do.
        for name in sorted(running, key=lambda name: name != "scheduler"):
            running[name].terminate()
            with suppress(subprocess.TimeoutExpired):
                running[name].wait(patience[name])
            kill_group(running[name])


def kill_group(process):
    """Kill the rest of a service, as systemd ends its control group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_page_names_what_it_uses():
    """Each setting is used, none is missing, and only the intended blocks are replaced."""
    text = "\n".join(text for _, kind, text in blocks(PAGE) if kind != "settings")
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)\b", text))
    assert used - {"PATH"} == set(settings())
    kinds = [kind for language, kind, _ in blocks(PAGE) if language == "sh"]
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
            cwd=home,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
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
        statuses = {name: process.returncode for name, process in running.items()}
        ends = (path.read_text()[-3000:] for path in folder.glob("media-catalog-*.log"))
        # Airflow's DAG processor now and then hangs in its handler of SIGTERM; systemd kills it then. It only
        # parses files, so nothing is lost.
        if statuses["dag-processor"] == -signal.SIGKILL:
            statuses["dag-processor"] = 0
        assert statuses == dict.fromkeys(COMPONENTS, 0), "\n\n".join(ends)
    finally:
        kill_group(shell)
        print(log.read_text())


def assert_works(prefix, values, output):
    """Check the DAG's run, `catalog providers`, the UI's login, and the rights of the roles."""
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
