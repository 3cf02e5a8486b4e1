"""Bulk requests to an index: documents, and decisions of moderators.

Requests go to the private alias of the index and require an alias. Otherwise the engine might create a
missing index automatically, with a guessed mapping.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import msgspec
import orjson
from elastic_transport import ApiError, TransportError

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.search.client import explanation
from catalog.data_refresh.search.identity import REMEDY
from catalog.data_refresh.search.indexes import Indexes

ATTEMPTS = 6  # per request, or for the actions of it that the engine did not accept
BACKOFF = 1.0  # seconds, doubled each time
REQUEST_BYTES = 8_000_000  # the smallest limit of hosted engines is 10 MB
REASON = 200  # characters
_REFUSES_ALL = ("index_closed_exception", "cluster_block_exception", "security_exception")


class Rejection(msgspec.Struct, frozen=True):
    """A document that the engine rejects permanently.

    Attributes:
        key: Id of the document.
        kind: Groups rejections.
        reason: Message of the engine.
    """

    key: str
    kind: str
    reason: str


class Sent(msgspec.Struct):
    """Result of bulk actions.

    Attributes:
        changed: Number of documents that were created, changed or deleted, if counted.
        rejections: Documents that the engine rejects.
    """

    changed: int = 0
    rejections: list[Rejection] = []


def index_action(key: str, document: Mapping[str, Any]) -> bytes:
    """Return the action that indexes a document. Its two lines are one item, so they stay in one request."""
    return b'{"index":{"_id":"%s"}}\n%s' % (key.encode(), orjson.dumps(document))


def update_action(key: str, changes: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"update": {"_id": key}}) + b"\n" + orjson.dumps({"doc": changes})


def delete_action(key: str) -> bytes:
    return orjson.dumps({"delete": {"_id": key}})


def key_of(action: bytes) -> str:
    [about] = orjson.loads(action.partition(b"\n")[0]).values()
    return str(about["_id"])


class BulkSender:
    """Sends actions until the engine has accepted or permanently rejected each of them.

    Args:
        engine: Operations on indexes.
        writer: Private alias of the index.
        tell: Count changed documents; this needs a long answer to each request.
    """

    def __init__(self, engine: Indexes, writer: str, *, tell: bool = False) -> None:
        self._engine, self._writer, self._tell = engine, writer, tell

    def send(self, actions: Iterable[bytes]) -> Sent:
        """Send actions, in requests of at most REQUEST_BYTES.

        Raises:
            Retry: The engine is overloaded, or does not answer, for half a minute.
            Fatal: The index is missing, or the engine refuses all actions.
        """
        sent = Sent(rejections=[])
        for request in requests(actions):
            self._send(request, sent)
        return sent

    def _send(self, actions: list[bytes], sent: Sent) -> None:
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._engine.pause(BACKOFF * 2 ** (attempt - 1))
            brief = not (problem or self._tell)
            try:
                operations = cast(Any, actions)  # encoded already
                answer = self._engine.client.bulk(
                    index=self._writer,
                    operations=operations,
                    require_alias=True,
                    filter_path="errors" if brief else None,
                )
            except TransportError as error:
                problem = f"the search engine does not answer ({type(error).__name__})"
                continue
            except ApiError as error:
                if error.meta.status == 413:
                    self._halve(actions, sent)
                    return
                if error.meta.status not in (408, 429) and error.meta.status < 500:
                    said = explanation(error)
                    raise Fatal(said or f"the search engine refused a request: {str(error)[:500]}") from None
                problem = explanation(error) or f"the search engine answered {error.meta.status}"
                continue
            if brief and not answer["errors"]:
                return
            if "items" not in answer:
                # The short answer does not say which; sending all of them again is harmless.
                problem = "the search engine did not take some documents"
                continue
            actions, problem = self._not_taken(actions, answer["items"], sent)
            if not actions:
                return
        raise Retry(f"{problem}; tried {ATTEMPTS} times.")

    def _halve(self, actions: list[bytes], sent: Sent) -> None:
        """Send a request that is too large for the engine in two halves."""
        if len(actions) == 1:
            sent.rejections.append(
                Rejection(
                    key_of(actions[0]),
                    "too large",
                    f"{len(actions[0]):,} bytes; see the engine's http.max_content_length",
                )
            )
            return
        middle = len(actions) // 2
        self._send(actions[:middle], sent)
        self._send(actions[middle:], sent)

    def _not_taken(
        self, actions: list[bytes], items: list[dict[str, Any]], sent: Sent
    ) -> tuple[list[bytes], str]:
        """Return the actions to send again, and why."""
        again, problem = [], ""
        for action, item in zip(actions, items, strict=True):
            [result] = item.values()
            status, error = result["status"], result.get("error") or {}
            kind = error.get("type", "") if isinstance(error, dict) else ""
            said = explanation(error)
            text = said or f"{result['_id']}: {str(error)[:400]}"
            if status < 300:
                sent.changed += result.get("result") != "noop"
            elif kind == "index_not_found_exception":
                raise Fatal(f"the index {self._writer.rpartition('.')[0]} is missing: {REMEDY}.")
            elif status == 404:  # the document to be deleted or updated does not exist
                continue
            elif status in (409, 429) or status >= 500:
                again.append(action)
                problem = text
            elif status in (400, 413) and kind not in _REFUSES_ALL:
                sent.rejections.append(_rejection(result["_id"], error))
            else:
                raise Fatal(said or f"the search engine accepts nothing for {self._writer}: {status}, {text}")
        return again, problem


def requests(actions: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lists of actions of at most REQUEST_BYTES; a single action may be larger."""
    request: list[bytes] = []
    size = 0
    for action in actions:
        if request and size + len(action) > REQUEST_BYTES:
            yield request
            request, size = [], 0
        request.append(action)
        size += len(action) + 1
    if request:
        yield request


def _rejection(key: str, error: Any) -> Rejection:
    """Return a rejection whose kind is the type of the error and the field, so that there are few groups."""
    if not isinstance(error, dict):
        return Rejection(key, "refused by the engine", str(error)[:REASON])
    reason = str(error.get("reason", ""))
    causes = [str(c.get("reason", "")) for c in [error.get("caused_by")] if isinstance(c, dict)]
    field = (
        reason.partition("field [")[2].partition("]")[0] or reason.partition('field="')[2].partition('"')[0]
    )
    kind = f"{error.get('type', 'refused by the engine')}{f' in {field}' if field else ''}"
    return Rejection(key, kind[:REASON], "; ".join([*causes, reason])[:REASON])
