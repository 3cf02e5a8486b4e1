"""The daily digest: reports of completed runs, collected in the catalog database and sent in one message.

A task that reports writes its report, so nothing depends on when the digest runs: it takes all that are not
sent yet. A report is marked only after Slack has accepted the digest. If the process ends in between, the
next digest has it again; none is lost.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Json

from catalog.core.dates import utc
from catalog.core.session import Connection
from catalog.notifications.message import Message, escaped, link

log = logging.getLogger(__name__)
KEPT = "30 days"  # after a report was sent


class Entry(msgspec.Struct, frozen=True):
    """A report that waits.

    Attributes:
        message: The report.
        collected_on: When it was written.
    """

    message: Message
    collected_on: datetime


def collect(connection: Connection, message: Message) -> None:
    """Write a report, once for each task of a run.

    A task that is repeated replaces its report. The replaced report is sent again only if it says something
    else.

    Args:
        connection: Connection to the catalog database.
        message: The report; its task and origin are known.
    """
    assert message.origin is not None
    connection.execute(
        """
        insert into digest_entry (dag_id, run_id, task_id, report) values (%s, %s, %s, %s)
        on conflict (dag_id, run_id, task_id) do update
           set report = excluded.report, collected_on = now(),
               sent_on = case when digest_entry.report::jsonb - 'origin' = excluded.report::jsonb - 'origin'
                              then digest_entry.sent_on end
        """,
        [message.dag_id, message.origin.run_id, message.task_id, Json(msgspec.to_builtins(message))],
    )


@contextmanager
def waiting(connection: Connection) -> Iterator[list[Entry]]:
    """Yield the reports that wait, the oldest first; mark them as sent if the block does not raise.

    They stay locked meanwhile, so another digest does not send them, too. Old rows are deleted.

    Args:
        connection: Connection to the catalog database, in autocommit mode.
    """
    with connection.transaction():
        found = connection.execute(
            "select dag_id, run_id, task_id, report, collected_on from digest_entry where sent_on is null"
            " order by collected_on, dag_id, run_id for update"
        ).fetchall()
        yield [Entry(_message(*row), collected) for *row, collected in found]
        connection.cursor().executemany(
            "update digest_entry set sent_on = now() where (dag_id, run_id, task_id) = (%s, %s, %s)",
            [row[:3] for row in found],
        )
        connection.execute("delete from digest_entry where sent_on < now() - %s::interval", [KEPT])


def _message(dag_id: str, run_id: str, task_id: str, report: Any) -> Message:
    """Return a report; one that cannot be read, as of another release, is named, and stops no others."""
    try:
        return msgspec.convert(report, Message)
    except msgspec.ValidationError as error:
        log.warning("the report of %s, %s, %s cannot be read: %s", dag_id, run_id, task_id, error)
        return Message(f"A report of {run_id}, which cannot be read", "Airflow Digest", dag_id, task_id)


def digest(dag_id: str, task_id: str, entries: Sequence[Entry]) -> Message:
    """Build the digest.

    Args:
        dag_id: The DAG that sends it.
        task_id: The task that sends it.
        entries: The reports, at least one.
    """
    first, last = (utc(entries[n].collected_on) for n in (0, -1))
    runs = {(e.message.dag_id, e.message.origin and e.message.origin.run_id) for e in entries}
    return Message(
        f"Digest: {len(runs):,} completed runs",
        "Airflow Digest",
        dag_id,
        task_id,
        summary=f"Reports from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC.",
        fields={
            "Records inserted": f"{_total(entries, 'Inserted'):,}",
            "Records updated": f"{_total(entries, 'Updated'):,}",
        },
        lines=tuple(_line(entry.message) for entry in entries),
    )


def _line(message: Message) -> str:
    url = message.origin.run_url if message.origin else ""
    title = link(url, message.title) if url else escaped(message.title)
    numbers = ", ".join(
        f"{name} {value}" for name, value in message.fields.items() if name != "DAG" and value != "0"
    )
    named = "" if message.dag_id in message.title else f" (`{message.dag_id}`)"
    return f"  - {title}{named}" + "".join(f": {part}" for part in (message.summary, numbers) if part)


def _total(entries: Sequence[Entry], name: str) -> int:
    numbers = (entry.message.fields.get(name, "0").replace(",", "") for entry in entries)
    return sum(int(number) for number in numbers if number.isdecimal())
