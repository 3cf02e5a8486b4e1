"""The script that installs what the recipes need, with a fake Python: nothing is installed here."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = """#!/bin/sh
# Makes an environment of scripts, and only when the test says so.
case "$*" in
"-m venv "*)
    echo venv >>calls
    until [ -e go ]; do sleep 0.05; done
    mkdir -p .venv/bin
    for name in python uv; do printf '#!/bin/sh\\n' >.venv/bin/$name; done
    printf '#!/bin/sh\\necho recipe "$@"\\n' >.venv/bin/just
    chmod +x .venv/bin/*
    ;;
*"flock"*) echo lock >>calls; exec {real} "$@" ;;
*) exec {real} "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    for name in ("just", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "fake-python"
    python.write_text(PYTHON.format(real=sys.executable))
    python.chmod(0o755)
    (tmp_path / "calls").touch()
    return tmp_path


def start(checkout, recipe):
    return subprocess.Popen(
        [checkout / "just", recipe],
        env={**os.environ, "CATALOG_PYTHON": str(checkout / "fake-python")},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(checkout, *calls):
    """Wait until the fake Python has been called with these."""
    deadline = time.monotonic() + 60
    while (found := (checkout / "calls").read_text().split()) != list(calls):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_two_scripts_at_once_install_once(checkout):
    first = start(checkout, "first")
    wait_for(checkout, "lock", "venv")
    second = start(checkout, "second")
    wait_for(checkout, "lock", "venv", "lock")
    (checkout / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert outputs == ["recipe first\n", "recipe second\n"]
    assert (checkout / "calls").read_text().split() == ["lock", "venv", "lock"]


def test_a_killed_script_leaves_no_lock(checkout):
    with start(checkout, "first") as first:
        wait_for(checkout, "lock", "venv")
        first.kill()
    (checkout / "go").touch()  # the fake Python of the first one ends as well
    second = start(checkout, "second")
    assert second.communicate(timeout=60)[0] == "recipe second\n"
    assert (checkout / "calls").read_text().split() == ["lock", "venv", "lock", "venv"]
