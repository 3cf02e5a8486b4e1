"""What an incremental refresh continues: the state in which the last refresh left tables and indexes.

A refresh records its basis in the catalog database when it is promoted, and a mark in the API database in the
transaction that changes the tables. While both agree, only rows that were written since can differ. A
database that was restored, copied or replaced disagrees with the other one; then a full refresh is needed.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh import progress
from catalog.data_refresh.columns import public
from catalog.data_refresh.tag_policy import TagPolicy
from catalog.database.row_versions import horizon, written_since

if TYPE_CHECKING:
    from catalog.data_refresh.search import Indexes

MIXED = "the code of two releases has worked on the last refresh"
FAILED = "the last incremental refresh did not reach its end"
_CATALOG = Path(__file__).parents[1]
MARKS = "catalog_refresh"  # table of the API database with the mark of each live table
# Modules that determine rows and documents: a release that changes one of them needs a full refresh.
MODULES = (
    "core.media",
    "core.numbers",
    "data_refresh.audio_sets",
    "data_refresh.bulk",
    "data_refresh.columns",
    "data_refresh.document_rows",
    "data_refresh.documents",
    "data_refresh.duplicates",
    "data_refresh.mapping",
    "data_refresh.merge",
    "data_refresh.normal_form",
    "data_refresh.record_copy",
    "data_refresh.references",
    "data_refresh.refusals",
    "data_refresh.row_streams",
    "data_refresh.sensitive",
    "data_refresh.sequences",
    "data_refresh.tag_policy",
)


class Basis(msgspec.Struct, frozen=True):
    """State after a refresh.

    Attributes:
        number: Number of the refresh.
        horizon: Horizon of the catalog database before the first row was read.
        inputs: Digest of everything else that determines tables and documents; see `inputs`.
        indexes: Alias → uuid of its index.
        full_on: Time of the last full refresh.
        rejected: Identifiers of records that have a row, but no document.
        documents: Alias → number of documents of its index.
        since: Time from which moderators may have deleted some of them.
        writes: Alias → last write to each shard of its index when it was counted; see `index_writes`.
    """

    number: int
    horizon: int
    inputs: str
    indexes: dict[str, str]
    full_on: datetime
    rejected: list[str] = []
    documents: dict[str, int] = {}
    since: datetime | None = None
    writes: dict[str, dict[str, int]] = {}


class Mark(msgspec.Struct, frozen=True):
    """Mark of a live table.

    Attributes:
        number: Number of the refresh that wrote the table.
        relation: Object id of the table then.
        columns: Its columns then, with their numbers; a column that is dropped and added has a new one.
        horizon: Horizon of the API database before the refresh read or wrote the table.
        own: Transactions of the refresh itself, whose rows do not count as changed.
    """

    number: int
    relation: int
    columns: str
    horizon: int
    own: list[int]


def source_columns(catalog: Connection, source: str) -> list[tuple[int, str, int, int, str | None]]:
    """Return what changes if a table of the catalog, or one of its columns, is replaced without new rows.

    Returns:
        For each column: object id of the table, name, number and type of the column, and the values of an
        enum, which can be renamed.
    """
    query = """
        select attrelid::bigint, attname::text, attnum::int, atttypid::bigint,
               (select string_agg(enumlabel, ',' order by enumsortorder)
                  from pg_enum
                 where enumtypid in (atttypid, (select typelem from pg_type where oid = atttypid)))
          from pg_attribute
         where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum
    """
    return catalog.execute(query, [public(source)]).fetchall()


def inputs(columns: Mapping[str, object], terms: Iterable[str], policy_digest: str) -> str:
    """Return the digest of what determines tables and documents, besides the rows of the catalog.

    Args:
        columns: Columns of each live table, and those of its source; see `source_columns`.
        terms: Sensitive terms.
        policy_digest: Digest of the tag policy.
    """
    digest = _code()
    digest.update(msgspec.json.encode([columns, sorted(terms), policy_digest], order="deterministic"))
    return digest.hexdigest()


def code() -> str:
    """Return the digest of the code that determines rows and documents."""
    return str(_code().hexdigest())


def _code() -> "hashlib._Hash":
    digest = hashlib.sha256()
    for name in MODULES:
        digest.update((_CATALOG / f"{name.replace('.', '/')}.py").read_bytes())
    return digest


def record(catalog: Connection, basis: Basis) -> None:
    """Record a refresh as promoted, with its basis and the transaction that does so.

    A dump that is restored to another server keeps the recorded number of the transaction, but not the
    transaction itself.
    """
    catalog.execute(
        """
        update refresh
           set stage = 'promoted',
               basis = %s || jsonb_build_object('xid', pg_current_xact_id()::text::bigint & 4294967295)
         where number = %s
        """,
        [Jsonb(msgspec.to_builtins(basis)), basis.number],
    )


def last(catalog: Connection, media_type: MediaType, current: int = 0) -> Basis | str:
    """Return the basis of the last data refresh, or the reason why there is none.

    Args:
        catalog: Connection to the catalog database.
        media_type: Media type of the refreshes.
        current: Number of the refresh that asks.
    """
    row = catalog.execute(
        """
        select r.basis, r.basis ->> 'xid' = r.xmin::text,
               exists (select from refresh f join turn g using (number)
                        where g.dag_id = t.dag_id and f.number > r.number and f.number <> %(current)s
                          and f.plan ->> 'mode' = 'incremental'),
               coalesce(r.plan ->> 'mixed' = 'true', false)
          from refresh r join turn t using (number)
         where t.dag_id = %(dag)s and r.stage <> 'working'
         order by number desc limit 1
        """,
        {"dag": f"{media_type}_data_refresh", "current": current},
    ).fetchone()
    if row is None:
        return "there was no refresh before"
    if row[3]:
        return MIXED
    if row[0] is None:
        return "the last refresh was not completed, or it rebuilt only the index"
    if not row[1]:
        return "the catalog database was restored from a dump since the last refresh"
    if row[2]:
        return FAILED
    try:
        return msgspec.convert(row[0], Basis)
    except msgspec.ValidationError:
        return "another release recorded the last refresh"


_COLUMNS = """
    (select string_agg(attname || ' ' || attnum, ', ' order by attnum) from pg_attribute
      where attrelid = to_regclass(%(name)s) and attnum > 0 and not attisdropped)
"""


def set_mark(api: Connection, table: str, number: int, began: int | None = None) -> None:
    """Mark a live table as written by a refresh, in the transaction that writes it.

    Args:
        api: Connection to the API database, in a transaction that keeps others from writing to the table.
        table: Name of the live table.
        number: Number of the refresh.
        began: Horizon before the refresh read the table, whose rows this transaction changes. None if others
            cannot have written to it meanwhile, because it is a new table.
    """
    api.execute(
        sql.SQL(
            """
            insert into {marks} (table_name, refresh, relation, columns, horizon, own)
            select %(table)s, %(number)s, to_regclass(%(name)s)::oid::bigint, {columns}, %(horizon)s,
                   case when %(own)s then array[pg_current_xact_id()::text::bigint & 4294967295]
                        else '{{}}' end
            on conflict (table_name) do update
               set (refresh, relation, columns, horizon, own)
                 = (excluded.refresh, excluded.relation, excluded.columns, excluded.horizon, excluded.own)
            """
        ).format(marks=sql.Identifier("public", MARKS), columns=sql.SQL(_COLUMNS)),
        {
            "table": table,
            "number": number,
            "name": public(table),
            "horizon": horizon(api) if began is None else began,
            "own": began is not None,
        },
    )


def create_marks(api: Connection) -> None:
    """Create the table of the marks if it is missing."""
    api.execute(
        sql.SQL("""
            create table if not exists {marks} (
                table_name text primary key,
                refresh bigint not null,
                relation bigint not null,
                columns text not null,
                horizon bigint not null,
                own bigint[] not null
            )
        """).format(marks=sql.Identifier("public", MARKS))
    )


def mark(api: Connection, table: str) -> Mark | None:
    """Return the mark of a live table; None if it has none, or if the table was replaced since."""
    if not progress.exists(api, MARKS):
        return None
    query = sql.SQL("""
        select refresh, relation, columns, horizon, own from {marks}
         where table_name = %(table)s and relation = to_regclass(%(name)s)::oid::bigint
           and columns = {columns}
    """).format(marks=sql.Identifier("public", MARKS), columns=sql.SQL(_COLUMNS))
    row = api.execute(query, {"table": table, "name": public(table)}).fetchone()
    return Mark(*row) if row else None


def written_by_others(api: Connection, found: Mark) -> sql.Composable:
    """Return the condition that others have written a row of a live table since its mark was set."""
    return sql.SQL("({} and xmin::text::bigint <> all({}))").format(
        written_since(api, found.horizon), sql.Literal(found.own)
    )


def obstacle(
    basis: Basis,
    api: Connection,
    engine: "Indexes",
    media_type: MediaType,
    tables: Iterable[str],
    wanted_inputs: str,
    policy: TagPolicy,
) -> str | None:
    """Return the reason why a refresh cannot continue a basis, or None.

    Args:
        basis: State after the last refresh.
        api: Connection to the API database.
        engine: Operations on indexes.
        media_type: Media type of the refresh.
        tables: Names of the live tables.
        wanted_inputs: Digest of what determines tables and documents now.
        policy: Tag policy of the documents.
    """
    from catalog.data_refresh.index_writes import changed_by_others

    for table in tables:
        found = mark(api, table)
        if found is None or found.number != basis.number:
            return f"the last refresh did not write the API's table {table} as it is now"
    for alias, uuid in basis.indexes.items():
        name = engine.resolve_alias(alias)
        identity = engine.identity(name) if name else None
        if identity is None or identity.uuid != uuid:
            return f"the last refresh did not fill the index behind {alias}"
        if pipeline := engine.pipeline(identity.name):
            return f"the index behind {alias} has {pipeline}, which changes documents that are written to it"
        if problem := _changed_documents(basis, api, engine, media_type, alias):
            return problem
    if basis.inputs != wanted_inputs:
        return (
            "columns, tag policy, sensitive terms, the index mapping or the code of documents have changed "
            "since the last refresh"
        )
    for alias, writes in basis.writes.items():  # an earlier release has recorded none
        if problem := changed_by_others(engine, api, media_type, alias, policy, writes):
            return problem
    return None


def _changed_documents(
    basis: Basis, api: Connection, engine: "Indexes", media_type: MediaType, alias: str
) -> str | None:
    """Return a sentence if an index has other documents than before, except those that moderators deleted."""
    from catalog.data_refresh.moderation import number_deleted

    counted = basis.documents.get(alias)
    if counted is None:  # an earlier release recorded the basis
        return None
    found = engine.count(alias)
    deleted = number_deleted(api, media_type, basis.since)
    if counted - deleted <= found <= counted:
        return None
    return f"another program has changed the index behind {alias}: {found:,} documents instead of {counted:,}"
