"""Restores of deleted records by `catalog db restore`, killed once, then repeated until it succeeds."""

import os
import subprocess
import sys
import time

from catalog.local.stack import ROOT
from catalog.soak.journal import Journal
from catalog.soak.made_up import Source
from catalog.soak.world import World

ATTEMPTS = 30
_IS_RESTORING = (
    "select 1 from pg_stat_activity where datname = 'catalog' and query ilike '%deleted_%'"
    " and application_name not in ('soak', 'catalog')"
)


def restore(world: World, journal: Journal, source: Source, group: str) -> None:
    """Restore a group of records; the first attempt is killed when it has connected.

    Args:
        world: Stack.
        journal: Receives the result of each attempt.
        source: Provider of the records.
        group: Group of records.
    """
    where = f"WHERE provider = '{source.catalog_name}' AND foreign_identifier LIKE '%{group}x%'"
    options = ["--table", source.media_type, "--where", where]
    for attempt in range(ATTEMPTS):
        process = subprocess.Popen(
            [sys.executable, "-m", "catalog.cli", "db", "restore", *options],
            env={**os.environ, "CATALOG_DSN": world.stack.dsn()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        if attempt == 0:
            _kill_when_connected(world, process)
        output = (process.communicate()[0] or b"").decode()[-300:].strip()
        journal.note("restore", f"{source.name} {group}: exit {process.returncode}: {output}")
        if process.returncode == 0:
            break
        time.sleep(2)


def _kill_when_connected(world: World, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None and not world.query(_IS_RESTORING):
        time.sleep(0.02)
    process.kill()
