"""What an incremental refresh continues: the state in which the last refresh left tables and indexes.

A refresh records its basis in the catalog database when it is promoted, and a mark in the API database in the
transaction that changes the tables. While both agree, only rows that were written since can differ. A
database that was restored, copied or replaced disagrees with the other one; then a full refresh is needed.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import qualified_name
from catalog.database.row_versions import THIS_TRANSACTION

MIXED = "the code of two releases has worked on the last refresh"
UNLISTED = "more records were rejected by the last refresh than it can list"
FAILED = "the last incremental refresh did not reach its end"
_CATALOG = Path(__file__).parents[1]
# Modules that determine rows and documents: a release that changes one of them needs a full refresh.
MODULES = (
    "core.media",
    "core.numbers",
    "data_refresh.tables.audio_sets",
    "data_refresh.search.bulk",
    "data_refresh.tables.columns",
    "data_refresh.search.document_rows",
    "data_refresh.search.documents",
    "data_refresh.tables.duplicates",
    "data_refresh.search.mapping",
    "data_refresh.tables.merge",
    "data_refresh.search.normal_form",
    "data_refresh.tables.oversized",
    "data_refresh.tables.record_copy",
    "data_refresh.tables.references",
    "data_refresh.tables.rejects",
    "data_refresh.tables.row_streams",
    "data_refresh.search.sensitive",
    "data_refresh.tables.sequences",
    "data_refresh.search.tag_policy",
    "moderation.tables",
)


class Basis(msgspec.Struct, frozen=True):
    """State after a refresh.

    Attributes:
        number: Number of the refresh.
        horizon: Horizon of the catalog database before the first row was read.
        inputs: Digest of everything else that determines tables and documents; see `inputs`.
        indexes: Alias → uuid of its index.
        full_on: When the last full refresh began, by the clock of the catalog database.
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
    return catalog.execute(query, [qualified_name(source)]).fetchall()


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

    Args:
        catalog: Connection to the catalog database.
        basis: The state in which it leaves tables and indexes.
    """
    catalog.execute(
        sql.SQL("""
            update refresh set stage = 'promoted', basis = %s || jsonb_build_object('xid', {})
             where number = %s
        """).format(THIS_TRANSACTION),
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
               coalesce(r.plan ->> 'mixed' = 'true', false),
               r.stage = 'promoted' and r.plan ->> 'mode' <> 'index_only'
                   and r.indexes -> (r.plan -> 'aliases' ->> %(media)s) ->> 'documents' is not null
                   and r.indexes -> (r.plan -> 'aliases' ->> %(media)s) ->> 'rejected' is null
          from refresh r join turn t using (number)
         where t.dag_id = %(dag)s and r.stage <> 'working'
         order by number desc limit 1
        """,
        {"dag": f"{media_type}_data_refresh", "media": media_type, "current": current},
    ).fetchone()
    if row is None:
        return "there was no refresh before"
    if row[3]:
        return MIXED
    if row[0] is None and row[4]:
        return UNLISTED
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
