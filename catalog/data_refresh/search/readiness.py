"""Preparation of an index for searches: replicas, refreshes, and the wait until it is healthy."""

import logging
import time

from catalog.core.errors import Retry
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.indexes import Indexes

log = logging.getLogger(__name__)
POLL = 20.0  # seconds that a request waits for the engine; proxies cut requests that are silent for a minute


def finalize(engine: Indexes, name: str, replicas: int, seconds: float, *, uuid: str | None = None) -> None:
    """Make an index ready to be searched: create replicas, enable refreshes, wait until it is healthy.

    Args:
        engine: Operations on indexes.
        name: Name of an index of the catalog.
        replicas: Number of replicas of each shard.
        seconds: Limit for the whole; the engine is polled with short requests.
        uuid: The engine's uuid of the index.

    Raises:
        Retry: It is not ready in time; the message says what is missing.
    """
    engine.require(name, uuid)
    settings = {"index": {"number_of_replicas": replicas, "refresh_interval": None}}
    engine.ask(engine.client.indices.put_settings, index=name, settings=settings)
    deadline, logged = time.monotonic() + seconds, ""
    while True:
        remaining = deadline - time.monotonic()
        state = _health(engine, name, max(1.0, min(POLL, remaining)))
        if state is None:
            return
        if state != logged:
            log.info("%s is not ready to serve: %s", name, state)
            logged = state
        if time.monotonic() >= deadline:
            raise Retry(
                f"{name} is not ready to serve after {seconds:.0f} s ({state}); does the cluster have "
                f"nodes for {replicas} replicas? The connection's extra `replicas` sets their number."
            )


def _health(engine: Indexes, name: str, seconds: float) -> str | None:
    """Wait up to `seconds` for an index to be healthy; return what is missing, or None if it is."""
    client = engine.client.options(ignore_status=408, request_timeout=seconds + 30)
    try:
        health = ask(client.cluster.health, index=name, wait_for_status="green", timeout=f"{seconds:.0f}s")
    except Retry as error:
        engine.pause(1)
        return str(error)
    if health["status"] == "green" and not health["timed_out"]:
        return None
    waiting = health["unassigned_shards"] + health["initializing_shards"]
    return f"{health['status']}, {health['active_shards']:,} shards are active, {waiting:,} are not"
