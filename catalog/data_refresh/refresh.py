"""Record of a refresh in the catalog database, which every task of its run reads.

A task that is cleared later works on the same indexes, from the same moment and against the same state of the
live tables, or refuses to work. A refresh depends neither on the dates of its run nor on XComs.
"""

import logging
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Self

import msgspec
from psycopg.types.json import Jsonb

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.basis import Basis, code
from catalog.data_refresh.search.identity import REMEDY
from catalog.database.turns import Turn
from catalog.moderation.decisions import EVER
from catalog.moderation.remembered import Remembered
from catalog.moderation.tables import Decision

log = logging.getLogger(__name__)
Stage = Literal["working", "tables", "promoted"]
CLOCKS = timedelta(hours=1)  # by which the clocks of the databases and of the API may differ
_MIXED = {"mixed": True}  # of a plan
Mode = Literal["full", "incremental", "index_only", "filtered", "copy", "alias"]


class Copy(msgspec.Struct, frozen=True):
    """What is copied from another index, and into which form.

    Attributes:
        origin: Name of the index from which documents are copied.
        uuid: The engine's uuid of it.
        query: Matches the documents to copy.
        settings: Changes of the settings of the new index, as a JSON merge patch.
        mappings: Changes of its mapping, likewise.
        notes: What the report says besides.
    """

    origin: str
    uuid: str
    query: dict[str, Any]
    settings: dict[str, Any] = {}
    mappings: dict[str, Any] = {}
    notes: list[str] = []


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Plan of a refresh, which does not change.

    Attributes:
        media_type: Media type of the refresh.
        api: Airflow connection of the database from which rows are read.
        search: Airflow connection of the search engine.
        table: Table from which rows are read; "" if none is.
        index: Name of the index with all documents. If no rows are read, documents are copied from it
            (`filtered`), or into it (`copy`).
        aliases: Alias → name of the index to which it will point.
        policy: Tag policy of the documents.
        since: Time from which moderation decisions may be missing in the new indexes.
        filtered: Name of the index without sensitive media; "" if none is created.
        shapes: Table → definition of the live table, for tables that are exchanged.
        live: Alias → index to which it pointed; None if the alias did not exist.
        documents: Alias → source → number of documents, before the refresh.
        mode: `full` replaces tables and indexes, `incremental` changes the live ones, `index_only` replaces
            the indexes. No data refreshes, but recorded like them: `filtered` replaces the filtered index,
            `copy` makes an index without an alias, `alias` moves an alias to an index that is there. Earlier
            releases recorded `filtered` as `full`, and so they did full indexes of staging.
        reason: Why the mode is `full` although `auto` was asked for; "" otherwise.
        horizon: Horizon of the catalog database before the first row was read.
        inputs: Digest of what determines tables and documents besides the rows; see `basis.inputs`.
        code: Digest of the code that makes rows and documents, where the refresh was begun; see `basis.code`.
        mixed: Whether tasks with other code have worked on it.
        terms: Digest of the sensitive terms; "" if none are needed.
        previous: State that an incremental refresh continues.
        counts: Alias → number of documents, before an incremental refresh wrote any.
        replaced: Alias → number of those that belong to changed records.
        copy: What the index is copied from; only of the mode `copy`.
        remembered: What is remembered of moderators' decisions when it began; None if nothing is.
        marked: Number of the data refresh that had written the rows, by the mark of their table, or 0; None
            if it is not known. Only of an index of staging.
        notes: What the report says besides; only of the mode `alias`.
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
    mode: Mode = "full"
    reason: str = ""
    horizon: int = 0
    inputs: str = ""
    code: str = ""
    mixed: bool = False
    terms: str = ""
    previous: Basis | None = None
    counts: dict[str, int] = {}
    replaced: dict[str, int] = {}
    copy: Copy | None = None
    remembered: dict[Decision, Remembered] | None = None
    marked: int | None = None
    notes: list[str] = []

    @property
    def targets(self) -> tuple[str, ...]:
        """The indexes that it makes ready: those behind its aliases, or the one without an alias."""
        return tuple(self.aliases.values()) or (self.index,)


class CreatedIndex(msgspec.Struct, frozen=True):
    """An index that a refresh created.

    Attributes:
        uuid: The engine's uuid of the index.
        documents: Number of documents, once the index is complete; None before.
        rejected: Identifiers of the records without a document; None if there are too many to list.
        writes: Last write to each shard when the documents were counted; see `index_writes`.
    """

    uuid: str
    documents: int | None = None
    rejected: list[str] | None = None
    writes: dict[str, int] = {}


class Hidden(NamedTuple):
    """What a filtered index hides.

    Attributes:
        name: Name of the index, or of its alias.
        documents: Number of documents of the main index that it lacks.
        terms: Digest of the list of terms with which it was made; "" if that is not known.
    """

    name: str
    documents: int
    terms: str


class Counted(NamedTuple):
    """The recorded number of documents of an index.

    Attributes:
        documents: The number.
        since: Time from which moderators may have deleted some of them.
    """

    documents: int
    since: datetime

    @classmethod
    def of(cls, documents: int, planned: datetime, begun_on: datetime) -> Self:
        """Return a number that a refresh has recorded.

        Args:
            documents: The number.
            planned: `since` of its plan.
            begun_on: When the plan was recorded.
        """
        return cls(documents, begun_on - CLOCKS if planned == EVER else planned)


class Refresh(msgspec.Struct, frozen=True):
    """A refresh and its stage.

    Attributes:
        number: Number of its turn.
        dag_id: DAG of its run.
        run_id: Id of its run.
        plan: Its plan.
        stage: `working` until the tables are exchanged (`tables`), then `promoted`.
        indexes: Created indexes by name.
        begun_on: When the plan was recorded.
    """

    number: int
    dag_id: str
    run_id: str
    plan: Plan
    stage: Stage
    indexes: dict[str, CreatedIndex]
    begun_on: datetime

    @property
    def identity(self) -> str:
        """A unique string; another refresh of the same run has another one."""
        return f"{self.dag_id}/{self.run_id}/{self.number}"

    def made(self, index: str) -> CreatedIndex:
        """Return the index that this refresh created. Raises Refused if it has not created it."""
        if not (made := self.indexes.get(index)):
            raise Refused(f"this refresh has not made {index}; {REMEDY}.")
        return made

    def counted(self, index: str) -> int:
        """Return the number of documents of a complete index. Raises Refused if it is not complete."""
        if (documents := self.made(index).documents) is None:
            raise Refused(
                f"{index} was never found to be complete; clear the task that fills it and all after it."
            )
        return documents

    def recorded_count(self, index: str) -> Counted:
        """Return the number of documents of a finished index; Refused as `counted`."""
        return Counted.of(self.counted(index), self.plan.since, self.begun_on)


def begin(catalog: Connection, turn: Turn, plan: Plan) -> Refresh:
    """Record the plan of a turn's refresh, unless one is recorded already, and return the refresh."""
    catalog.execute(
        "insert into refresh (number, plan) values (%s, %s) on conflict (number) do nothing",
        [turn.number, Jsonb(msgspec.to_builtins(plan))],
    )
    return read(catalog, turn)


def begun(catalog: Connection, turn: Turn) -> Refresh | None:
    """Return the refresh of a turn; None before its plan is recorded."""
    row = catalog.execute(
        "select plan, stage, indexes, begun_on from refresh where number = %s", [turn.number]
    ).fetchone()
    if not row:
        return None
    plan, indexes = msgspec.convert(row[0], Plan), msgspec.convert(row[2], dict[str, CreatedIndex])
    return Refresh(turn.number, turn.dag_id, turn.run_id, plan, row[1], indexes, row[3])


def read(catalog: Connection, turn: Turn) -> Refresh:
    """Return the refresh of a turn. Raises Refused if its plan is not recorded."""
    if refresh := begun(catalog, turn):
        return refresh
    raise Refused("this run's refresh was never begun; clear its first tasks and all that follow.")


def note_code(catalog: Connection, refresh: Refresh) -> Refresh:
    """Note if the code that works on a refresh is not that which began it, and return the refresh.

    Parts of tables and indexes are then as another release makes them, so no refresh can continue from there.

    Args:
        catalog: Connection to the catalog database.
        refresh: The refresh on which this code is to work.
    """
    plan = refresh.plan
    if not plan.inputs or plan.mixed or plan.code == code():
        return refresh
    noted = catalog.execute(
        "update refresh set plan = plan || %s where number = %s and stage <> 'promoted'",
        [Jsonb(_MIXED), refresh.number],
    ).rowcount
    if not noted:
        return refresh
    log.warning(
        "another release has begun refresh %d, so the next one will be a full one. Trigger it at once if the "
        "releases differ in what is searched, or in what counts as sensitive.",
        refresh.number,
    )
    return msgspec.structs.replace(refresh, plan=msgspec.structs.replace(plan, mixed=True))


def replan(catalog: Connection, refresh: Refresh, plan: Plan) -> Refresh:
    """Replace the plan of a refresh, as long as nothing is live, and return the refresh."""
    catalog.execute(
        "update refresh set plan = %(plan)s || case when plan @> %(mixed)s then %(mixed)s else '{}' end"
        " where number = %(number)s and stage = 'working'",
        {
            "plan": Jsonb(msgspec.to_builtins(plan)),
            "mixed": Jsonb(_MIXED),  # another task may have noted it meanwhile
            "number": refresh.number,
        },
    )
    return msgspec.structs.replace(refresh, plan=plan)


def note_index(catalog: Connection, refresh: Refresh, index: str, made: CreatedIndex) -> None:
    """Record an index that was created or counted; it replaces an earlier one of the same name."""
    catalog.execute(
        "update refresh set indexes = indexes || %s where number = %s",
        [Jsonb({index: msgspec.to_builtins(made)}), refresh.number],
    )


def note_found(catalog: Connection, refresh: Refresh, index: str, uuid: str) -> None:
    """Record an index that was there before, once: what was counted since is not forgotten."""
    catalog.execute(
        "update refresh set indexes = indexes || %s where number = %s and not indexes ? %s",
        [Jsonb({index: msgspec.to_builtins(CreatedIndex(uuid))}), refresh.number, index],
    )


def reach(catalog: Connection, refresh: Refresh, stage: Stage) -> None:
    """Record the stage of the refresh."""
    catalog.execute("update refresh set stage = %s where number = %s", [stage, refresh.number])
