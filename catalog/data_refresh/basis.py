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
from catalog.data_refresh.columns import Column, public
from catalog.data_refresh.row_versions import horizon, written_since

if TYPE_CHECKING:
    from catalog.data_refresh.search import Indexes

MARKS = "catalog_refresh"  # table of the API database with the mark of each live table
# Modules that determine rows and documents: a release that changes one of them needs a full refresh.
_MODULES = ("documents", "mapping", "merge", "normal_form", "row_streams", "sensitive", "tag_policy")


class Basis(msgspec.Struct, frozen=True):
    """State after a refresh.

    Attributes:
        number: Number of the refresh.
        horizon: Horizon of the catalog database before the first row was read.
        inputs: Digest of everything else that determines tables and documents; see `inputs`.
        indexes: Alias → uuid of its index.
        documents: Alias → number of documents.
        full_on: Time of the last full refresh.
        rejected: Identifiers of records that have a row, but no document.
    """

    number: int
    horizon: int
    inputs: str
    indexes: dict[str, str]
    documents: dict[str, int]
    full_on: datetime
    rejected: list[str] = []


class Mark(msgspec.Struct, frozen=True):
    """Mark of a live table.

    Attributes:
        number: Number of the refresh that wrote the table.
        relation: Object id of the table then.
        horizon: Horizon of the API database then.
        own: Transactions of the refresh itself, whose rows do not count as changed.
    """

    number: int
    relation: int
    horizon: int
    own: list[int]


def inputs(columns: Mapping[str, list[Column]], terms: Iterable[str], policy_digest: str) -> str:
    """Return the digest of what determines tables and documents, besides the rows of the catalog.

    Args:
        columns: Columns of each live table.
        terms: Sensitive terms.
        policy_digest: Digest of the tag policy.
    """
    digest = hashlib.sha256()
    for name in _MODULES:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    digest.update(msgspec.json.encode([columns, sorted(terms), policy_digest], order="deterministic"))
    return digest.hexdigest()


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


def last(catalog: Connection, media_type: MediaType) -> Basis | str:
    """Return the basis of the last data refresh, or the reason why there is none."""
    row = catalog.execute(
        """
        select r.basis, r.basis ->> 'xid' = r.xmin::text
          from refresh r join turn t using (number)
         where t.dag_id = %s and r.stage <> 'working'
         order by number desc limit 1
        """,
        [f"{media_type}_data_refresh"],
    ).fetchone()
    if row is None:
        return "there was no refresh before"
    if row[0] is None:
        return "the last refresh was not completed, or it rebuilt only the index"
    if not row[1]:
        return "the catalog database was restored from a dump since the last refresh"
    try:
        return msgspec.convert(row[0], Basis)
    except msgspec.ValidationError:
        return "another release recorded the last refresh"


def set_mark(api: Connection, table: str, number: int, *, own: bool = False) -> None:
    """Mark a live table as written by a refresh, in the transaction that writes it.

    Args:
        api: Connection to the API database, in a transaction that keeps others from writing to the table.
        table: Name of the live table.
        number: Number of the refresh.
        own: The transaction writes rows of the table, which do not count as changed.
    """
    api.execute(
        sql.SQL("""
            insert into {marks} (table_name, refresh, relation, horizon, own)
            select %s, %s, to_regclass(%s)::oid::bigint, %s,
                   case when %s then array[pg_current_xact_id()::text::bigint & 4294967295] else '{{}}' end
            on conflict (table_name) do update
               set (refresh, relation, horizon, own)
                 = (excluded.refresh, excluded.relation, excluded.horizon, excluded.own)
        """).format(marks=sql.Identifier("public", MARKS)),
        [table, number, public(table), horizon(api), own],
    )


def create_marks(api: Connection) -> None:
    """Create the table of the marks if it is missing."""
    api.execute(
        sql.SQL("""
            create table if not exists {marks} (
                table_name text primary key,
                refresh bigint not null,
                relation bigint not null,
                horizon bigint not null,
                own bigint[] not null
            )
        """).format(marks=sql.Identifier("public", MARKS))
    )


def mark(api: Connection, table: str) -> Mark | None:
    """Return the mark of a live table; None if it has none, or if the table was replaced since."""
    if not progress.exists(api, MARKS):
        return None
    row = api.execute(
        sql.SQL("""
            select refresh, relation, horizon, own from {marks}
             where table_name = %s and relation = to_regclass(%s)::oid::bigint
        """).format(marks=sql.Identifier("public", MARKS)),
        [table, public(table)],
    ).fetchone()
    return Mark(*row) if row else None


def written_by_others(api: Connection, found: Mark) -> sql.Composable:
    """Return the condition that others have written a row of a live table since its mark was set."""
    return sql.SQL("({} and xmin::text::bigint <> all({}))").format(
        written_since(api, found.horizon), sql.Literal(found.own)
    )


def obstacle(
    basis: Basis, api: Connection, engine: "Indexes", tables: Iterable[str], wanted_inputs: str
) -> str | None:
    """Return the reason why a refresh cannot continue a basis, or None.

    Args:
        basis: State after the last refresh.
        api: Connection to the API database.
        engine: Operations on indexes.
        tables: Names of the live tables.
        wanted_inputs: Digest of what determines tables and documents now.
    """
    for table in tables:
        found = mark(api, table)
        if found is None or found.number != basis.number:
            return f"the last refresh did not write the API's table {table} as it is now"
    for alias, uuid in basis.indexes.items():
        name = engine.resolve_alias(alias)
        identity = engine.identity(name) if name else None
        if identity is None or identity.uuid != uuid:
            return f"the last refresh did not fill the index behind {alias}"
    if basis.inputs != wanted_inputs:
        return (
            "columns, tag policy, sensitive terms, the index mapping or the code of documents have changed "
            "since the last refresh"
        )
    return None
