"""Reads the inventory of a database from its system catalogs, quickly whatever the size of the tables."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import LiteralString

from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.adoption.hazards import read_hazards
from catalog.database.adoption.inventory import (
    DROPPED_VIEWS,
    METRICS,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    SET_KEY,
    SET_VIEW,
    TABLES,
    ExistingColumn,
    Function,
    Index,
    Inventory,
    Relation,
    Session,
    bare,
)
from catalog.database.sql_files import sql_file

_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
    "i": "index",
    "I": "index",
    "f": "foreign table",
    "c": "type",
}
_Names = Mapping[str, list[str]]


def read_inventory(connection: Connection) -> Inventory:
    """Return the inventory of a database, without changing it.

    Args:
        connection: Connection to the database, after `settle`.
    """
    [session] = connection.execute(sql_file("adoption/session")).fetchall()
    names = {"tables": list(TABLES), "views": list(REPLACED_VIEWS), "functions": list(REPLACED_FUNCTIONS)}
    relations = {
        name: Relation(name, _KINDS.get(kind, kind), *facts)
        for name, kind, *facts in connection.execute(sql_file("adoption/relations"))
    }
    columns = _columns(connection)
    foreign = _foreign_version(connection, relations)
    return Inventory(
        session=Session(*session),
        revision=None if foreign else _revision(connection, relations),
        foreign_version=foreign,
        hazards=read_hazards(
            connection,
            tables=TABLES,
            views=REPLACED_VIEWS,
            functions=REPLACED_FUNCTIONS,
            recreated=tuple(view for view in REPLACED_VIEWS if view not in DROPPED_VIEWS),
        ),
        relations=relations,
        columns=columns,
        indexes=_indexes(connection),
        functions=[Function(*row) for row in connection.execute(sql_file("adoption/functions"))],
        types=_texts(connection, sql_file("adoption/types")),
        pinned=_pinned(connection, names),
        dependents=_grouped(connection.execute(sql_file("adoption/dependents"), names)),
        attached=_texts(connection, sql_file("adoption/attached"), names),
        schemas=_texts(connection, sql_file("adoption/schemas")),
        extensions=_texts(
            connection, "select extname from pg_extension where extname <> 'plpgsql' order by 1"
        ),
        grants=_grouped(connection.execute(sql_file("adoption/grants"), names)),
        set_view_reads_table=_reads(connection, SET_VIEW, "audio"),
        audio_view_knows_sets=_knows_sets(connection),
        providers=_providers(connection, columns, relations),
    )


def _texts(connection: Connection, query: LiteralString, names: _Names | None = None) -> list[str]:
    return [text for (text,) in connection.execute(query, names)]


def _grouped(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, text in rows:
        found[name].append(text)
    return dict(found)


def _columns(connection: Connection) -> dict[str, dict[str, ExistingColumn]]:
    columns: dict[str, dict[str, ExistingColumn]] = defaultdict(dict)
    for table, name, *facts in connection.execute(sql_file("adoption/columns"), [list(TABLES)]):
        columns[table][name] = ExistingColumn(name, *facts)
    return dict(columns)


def _indexes(connection: Connection) -> dict[str, list[Index]]:
    indexes: dict[str, list[Index]] = defaultdict(list)
    rows = connection.execute(sql_file("adoption/indexes"), [list(TABLES)])
    for name, table, unique, valid, keys in rows:
        indexes[table].append(Index(name, table, unique, valid, tuple(map(bare, keys))))
    return dict(indexes)


def _pinned(connection: Connection, names: _Names) -> dict[tuple[str, str], list[str]]:
    pinned: dict[tuple[str, str], list[str]] = defaultdict(list)
    for table, column, dependent in connection.execute(sql_file("adoption/pinned"), names):
        pinned[table, column].append(dependent)
    return dict(pinned)


def _revision(connection: Connection, relations: dict[str, Relation]) -> str | None:
    if "catalog_version" not in relations or not relations["catalog_version"].owned:
        return None
    newest: str | None = value(connection, "select max(version_num) from public.catalog_version")
    return newest


def _foreign_version(connection: Connection, relations: dict[str, Relation]) -> str:
    """Return why the table catalog_version is not the catalog's; an empty string if it is or is missing."""
    if "catalog_version" not in relations or not relations["catalog_version"].owned:
        return ""
    kind = relations["catalog_version"].kind
    if kind != "table":
        return f"is a {kind}"
    columns = _texts(
        connection,
        "select attname || ' ' || atttypid::regtype from pg_attribute "
        "where attrelid = 'public.catalog_version'::regclass and attnum > 0 and not attisdropped "
        "order by attnum",
    )
    if columns != ["version_num character varying"]:
        return f"has the columns {', '.join(columns)}"
    unknown = _texts(
        connection,
        "select version_num from public.catalog_version where version_num !~ '^\\d{4}$' order by 1",
    )
    return f"names the revision {', '.join(unknown)}" if unknown else ""


def _reads(connection: Connection, view: str, table: str) -> bool:
    return bool(value(connection, sql_file("adoption/reads"), [f"public.{view}", f"public.{table}"]))


def _knows_sets(connection: Connection) -> bool:
    query = (
        "select exists (select from pg_attribute "
        "where attrelid = to_regclass('public.audio_view') and attname = %s)"
    )
    return bool(value(connection, query, [SET_KEY]))


def _providers(
    connection: Connection, columns: dict[str, dict[str, ExistingColumn]], relations: dict[str, Relation]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, query in (
        (METRICS[0], "select provider from public.image_popularity_metrics"),
        (METRICS[1], "select provider from public.audio_popularity_metrics"),
    ):
        if "provider" in columns.get(table, {}) and relations[table].owned:
            found[table] = _texts(connection, query)
    return found
