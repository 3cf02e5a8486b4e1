"""Copies of documents from one index to another by the engine, and its other long-running tasks."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from elasticsearch import NotFoundError

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.data_refresh.search.attempts import ONLY, Attempt
from catalog.data_refresh.search.client import ask, explanation
from catalog.data_refresh.search.indexes import Indexes

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds between two questions to the engine
_JSON = {"accept": "application/json"}


class Copying(Protocol):
    """State of work to which a copy belongs.

    Attributes:
        uuid: The engine's uuid of the destination.
        task: The engine's task; None before it has begun, and when it is done.
    """

    uuid: str
    task: str | None


def reindex(
    engine: Indexes,
    origin: str,
    destination: str,
    query: Mapping[str, Any],
    at: Copying,
    attempt: Attempt = ONLY,
    per_second: float = -1,
) -> int:
    """Let the engine copy the documents that match a query to another index.

    Args:
        engine: Operations on indexes.
        origin: Index or alias from which documents are copied.
        destination: Name of an index of the catalog.
        query: Matches the documents to copy.
        at: State of the work, saved when the engine has begun. The task of an interrupted attempt is waited
            for.
        attempt: This attempt; asked at least each second whether to stop, and told of copied documents.
        per_second: Limit of documents per second; -1 for no limit.

    Returns:
        Number of copied documents.

    Raises:
        Interrupted: The attempt was asked to stop.
        Retry: The engine failed to copy all documents; the state is cleared, so that all are copied again.
        Fatal: It refuses documents, because they do not fit the mapping of the destination; likewise.
    """
    try:
        return _reindex(engine, origin, destination, query, at, attempt, per_second)
    except (Retry, Fatal):
        attempt.save({})
        raise


def _reindex(
    engine: Indexes,
    origin: str,
    destination: str,
    query: Mapping[str, Any],
    at: Copying,
    attempt: Attempt,
    per_second: float,
) -> int:
    target = engine.require(destination, at.uuid)
    if at.task is None:
        at.task = str(
            ask(
                engine.client.reindex,
                source={"index": origin, "query": query},
                dest={"index": target.writer},
                slices="auto",
                wait_for_completion=False,
                requests_per_second=per_second,
                refresh=False,
                require_alias=True,
            )["task"]
        )
        attempt.save(msgspec.to_builtins(at))
    found = wait_for(engine, at.task, attempt.should_stop, attempt.report)
    try:
        engine.require(destination, target.uuid)
    except Fatal:
        engine.delete([target.writer])  # the engine makes an index of that name if the other is deleted
        raise
    response = found.get("response", {})
    if problem := found.get("error") or response.get("failures") or response.get("canceled"):
        failures = response.get("failures") or []
        final = failures and all(failure.get("status") == 400 for failure in failures)
        said = explanation(failures[0].get("cause") if failures else problem) or str(problem)[:500]
        # A document that does not fit the mapping never will.
        raise (Fatal if final else Retry)(f"the engine could not copy {origin} to {destination}: {said}")
    return int(response["created"]) + int(response["updated"])


def wait_for(
    engine: Indexes,
    task: str,
    should_stop: Callable[[], bool],
    report: Callable[[int], object] = lambda _: None,
) -> dict[str, Any]:
    """Wait for a task of the engine, and return its final status. Raises Retry if the engine lost it."""
    path, pause = f"/_tasks/{quote(task, safe='')}", FIRST_PAUSE
    while True:
        try:
            # Each call of `client.tasks.get` warns of a preview, which takes much longer than the request.
            found = engine.ask(engine.client.perform_request, method="GET", path=path, headers=_JSON)
        except NotFoundError:
            raise Retry(
                f"the engine does not know the task {task} any more; it has probably been restarted."
            ) from None
        if found["completed"]:
            return dict(found)
        status = found["task"]["status"]
        report(int(status.get("created", 0)) + int(status.get("deleted", 0)))
        if should_stop():
            raise Interrupted("asked to stop; the engine continues, and the next attempt waits for it.")
        engine.pause(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
