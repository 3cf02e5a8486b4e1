"""Databases that a benchmark fills, and copies of them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from catalog.core.session import Connection
from catalog.local.postgres import Postgres


@contextmanager
def postgres(*databases: str, durable: bool = False) -> Iterator[tuple[Postgres, Path]]:
    """Start a server of its own.

    Args:
        databases: Names of its databases, which are empty.
        durable: Whether it writes its data so that they outlive a crash.

    Yields:
        The server, and a folder; both are deleted at the end.
    """
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder / "pg", "bench", durable=durable)
    try:
        server.start(databases)
        yield server, folder
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def copy_of(server: Postgres, base: str) -> Connection:
    """Connect to a new copy of a database, which replaces the last one."""
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("drop database if exists bench with (force)")
        copy = sql.SQL("create database bench template {} strategy file_copy")
        admin.execute(copy.format(sql.Identifier(base)))
        admin.execute("checkpoint")
    return psycopg.connect(server.dsn("bench"), autocommit=True)
