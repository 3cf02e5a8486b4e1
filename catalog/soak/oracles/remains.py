"""Oracles of what a soak leaves behind: leftovers, secrets, states of runs."""

import re
import warnings
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

from elasticsearch.exceptions import GeneralAvailabilityWarning

from catalog.core.session import Connection
from catalog.core.wording import join_first
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.tables.marks import MARKS
from catalog.soak.oracles.rows import rows
from catalog.soak.violations import Violation, Violations


def check_leftovers(connection: Connection, database: str, before: set[str], now: set[str]) -> Violations:
    """No relation was added or lost, no advisory lock is held, and no statement is running.

    Args:
        connection: Connection to the database.
        database: Its name, for messages.
        before: Its relations when the soak began.
        now: Its relations now.
    """
    messages: list[str] = []
    if added := now - before - {MARKS}:  # which the first refresh creates
        messages.append(f"left over in {database}: {join_first(sorted(added))}")
    if lost := before - now:
        messages.append(f"missing from {database}: {join_first(sorted(lost))}")
    [(locks,)] = rows(
        connection,
        "select count(*) from pg_locks l join pg_database d on d.oid = l.database"
        " where l.locktype = 'advisory' and d.datname = current_database()",
    )
    if locks:
        messages.append(f"{locks} advisory locks are held in {database}")
    running = rows(
        connection,
        "select left(query, 120) from pg_stat_activity"
        " where state <> 'idle' and pid <> pg_backend_pid() and application_name <> 'soak'"
        " and backend_type = 'client backend' and datname = current_database()",
    )
    messages += [f"still running in {database}: {query}" for (query,) in running]
    return [Violation("leftovers", message) for message in messages]


def check_left_indexes(indexes: Indexes) -> Violations:
    """Every index of media has an alias, and no reindex task is running."""
    messages: list[str] = []
    about = indexes.client.indices.get(index="image-*,audio-*", expand_wildcards="all").body
    if orphans := [name for name, index in about.items() if not index.get("aliases")]:
        messages.append(f"indexes without an alias: {join_first(sorted(orphans))}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeneralAvailabilityWarning)
        nodes = indexes.client.tasks.list(actions="*reindex").get("nodes", {})
    if nodes:
        messages.append("a reindex task is still running")
    return [Violation("leftovers", message) for message in messages]


def check_partial_files(storage: Path) -> Violations:
    """No temporary file is left in the object storage."""
    left = [
        p.name
        for p in storage.rglob("*")
        if p.is_file() and (".partial" in p.name or p.name.endswith(".tmp"))
    ]
    return [Violation("leftovers", f"partial files: {join_first(sorted(left))}")] if left else []


def check_canary(
    canary: str, files: Iterable[Path], connections: Iterable[tuple[str, Connection]], messages: Iterable[str]
) -> Violations:
    """The canary is in no file, row or message, in any encoding.

    Args:
        canary: A made-up API key.
        files: Files to search.
        connections: Names and connections of the databases to search.
        messages: Messages to search.
    """
    forms = _forms(canary)
    paths: list[str] = [str(path) for path in files if _contains(_content(path), forms)]
    for name, connection in connections:
        tables = rows(connection, "select tablename from pg_tables where schemaname = 'public'")
        for (table,) in tables:
            stored = rows(connection, "select t::text from {table} t", table=table)
            if any(_contains(str(row).encode("utf-8", "replace"), forms) for (row,) in stored):
                paths.append(f"the table {table} of {name}")
    if any(_contains(message.encode("utf-8", "replace"), forms) for message in messages):
        paths.append("a message")
    return [Violation("secrets", f"the canary is in {place}") for place in paths]


def _forms(canary: str) -> list[bytes]:
    """Return the canary's first word, which no escape changes, and its base64 forms at each alignment."""
    word = re.match(r"\w+", canary)
    data, forms = canary.encode(), [word.group().encode() if word else canary.encode()]
    for offset in range(3):
        encoded = b64encode(bytes(offset) + data)
        forms.append(encoded[(8 * offset + 5) // 6 : 8 * (offset + len(data)) // 6])
    return forms


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it was removed, or belongs to a server
        return b""


def _contains(data: bytes, forms: list[bytes]) -> bool:
    return any(form in data for form in forms)


def check_states(airflow: Connection) -> Violations:
    """No run has succeeded with a failed task, and no run is active.

    Args:
        airflow: Connection to Airflow's metadata database.
    """
    failed = rows(
        airflow,
        "select r.dag_id, r.run_id, string_agg(t.task_id, ', ')"
        " from dag_run r join task_instance t using (dag_id, run_id)"
        " where r.state = 'success' and t.state in ('failed', 'upstream_failed') group by 1, 2",
    )
    active = rows(airflow, "select dag_id, run_id, state from dag_run where state in ('running', 'queued')")
    return [
        *(
            Violation("states", f"{dag} {run} has succeeded although tasks failed: {names}")
            for dag, run, names in failed
        ),
        *(Violation("states", f"{dag} {run} is still {state}") for dag, run, state in active),
    ]
