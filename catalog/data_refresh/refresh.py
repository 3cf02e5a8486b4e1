"""The record of a refresh in the catalog database, which every task of a run reads.

So a task that is cleared at any later time works on the same indexes, since the same moment, against the same
state of the live tables, or refuses. Nothing of a refresh depends on the run's dates or on what tasks pass to
each other.
"""

from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg.types.json import Jsonb

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.database.turns import Turn

Stage = Literal["working", "tables", "promoted"]


class Plan(msgspec.Struct, frozen=True):
    """What does not change during a refresh.

    Attributes:
        api: Airflow connection of the database that the rows are read from.
        search: Airflow connection of the search engine.
        table: Table that the rows are read from; "" when the filtered index alone is made, from `index`.
        index: Name of the index with all documents.
        filtered: Name of the index without sensitive media; "" when none is made.
        aliases: Alias → name of the index that it is to point at.
        policy: The tag policy that documents are made under.
        since: Moderation that is younger may be missing in the new indexes.
        shapes: Table → what the live table looked like; only for tables that are exchanged.
        live: Alias → index that it pointed at, None when there was no such alias.
        documents: Alias → source → documents, before.
    """

    media_type: MediaType
    api: str
    search: str
    table: str
    index: str
    aliases: dict[str, str]
    policy: dict[str, Any]
    since: datetime
    filtered: str = ""
    shapes: dict[str, Any] = {}
    live: dict[str, str | None] = {}
    documents: dict[str, dict[str, int]] = {}


class Made(msgspec.Struct, frozen=True):
    """An index that a refresh made. documents: as counted when it was found to be whole, None before."""

    uuid: str
    documents: int | None = None


class Refresh(msgspec.Struct, frozen=True):
    """A refresh, and how far it is. indexes: name → what was made."""

    number: int
    dag_id: str
    run_id: str
    plan: Plan
    stage: Stage
    indexes: dict[str, Made]

    @property
    def identity(self) -> str:
        """A text that no other refresh has, also not another one of the same run."""
        return f"{self.dag_id}/{self.run_id}/{self.number}"

    def made(self, index: str) -> Made:
        """Raises Refused when this refresh has not made the index."""
        if not (made := self.indexes.get(index)):
            raise Refused(f"this refresh has not made {index}; clear create_index and all tasks after it.")
        return made

    def counted(self, index: str) -> int:
        """Documents of an index that was found to be whole. Raises Refused when it was not."""
        if (documents := self.made(index).documents) is None:
            raise Refused(
                f"{index} was never found to be whole; clear the task that fills it and all after it."
            )
        return documents


def begin(connection: Connection, turn: Turn, plan: Plan) -> Refresh:
    """Write down what the refresh of a turn is; when it is written already, that counts."""
    connection.execute(
        "insert into refresh (number, plan) values (%s, %s) on conflict (number) do nothing",
        [turn.number, Jsonb(msgspec.to_builtins(plan))],
    )
    return read(connection, turn)


def begun(connection: Connection, turn: Turn) -> Refresh | None:
    """The refresh of a turn; None before its first task has written it down."""
    row = connection.execute(
        "select plan, stage, indexes from refresh where number = %s", [turn.number]
    ).fetchone()
    if not row:
        return None
    plan, indexes = msgspec.convert(row[0], Plan), msgspec.convert(row[2], dict[str, Made])
    return Refresh(turn.number, turn.dag_id, turn.run_id, plan, row[1], indexes)


def read(connection: Connection, turn: Turn) -> Refresh:
    """The refresh of a turn. Raises Refused when it was not written down."""
    if refresh := begun(connection, turn):
        return refresh
    raise Refused("this run's refresh was never begun; clear its first tasks and all that follow.")


def promoted(connection: Connection) -> set[str]:
    """Return the uuids of the indexes of all promoted refreshes, with or without an alias now."""
    rows = connection.execute(
        "select made ->> 'uuid' from refresh, jsonb_each(indexes) as i(name, made) where stage = 'promoted'"
    )
    return {uuid for (uuid,) in rows}


def note_index(connection: Connection, refresh: Refresh, index: str, made: Made) -> None:
    """Record an index that was created or counted; it replaces an earlier one of the same name."""
    connection.execute(
        "update refresh set indexes = indexes || %s where number = %s",
        [Jsonb({index: msgspec.to_builtins(made)}), refresh.number],
    )


def reach(connection: Connection, refresh: Refresh, stage: Stage) -> None:
    """Note how far the refresh is."""
    connection.execute("update refresh set stage = %s where number = %s", [stage, refresh.number])
