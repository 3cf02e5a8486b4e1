"""What a database holds, as its system catalogs say: read only, and quick whatever the size of the tables."""

from collections import defaultdict
from typing import Any

import msgspec

from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.database.adoption import hazards
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.hazards import Hazards

MEDIA = ("image", "audio")
METRICS = tuple(f"{media}_popularity_metrics" for media in MEDIA)
DELETED = tuple(f"deleted_{media}" for media in MEDIA)
TABLES = (*MEDIA, *DELETED, *METRICS)
SET_VIEW, SET_KEY = "audioset_view", "audio_set_foreign_identifier"
REPLACED_VIEWS = (SET_VIEW, *(f"{m}_view" for m in MEDIA), *(f"{m}_popularity_constants" for m in MEDIA))
"""Views, materialized or not, that adoption drops; of some it makes others with the same name."""
REPLACED_FUNCTIONS = tuple(
    name for m in MEDIA for name in (f"{m}_popularity_percentile", f"standardized_{m}_popularity")
)
KINDS = {
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
assert sorted(MEDIA) == sorted(MEDIA_TYPES)


class Found(Column, frozen=True):
    """An existing column; `filled`: it has a default, is an identity, or is generated."""

    filled: bool = False
    generated: bool = False
    written: str = ""  # its type as format_type() writes it
    domain: bool = False


class Relation(msgspec.Struct, frozen=True):
    """An existing table; `rows` is an estimate, `mine`: this role may alter it, `plain`: no partitions."""

    name: str
    kind: str
    rows: int
    bytes: int
    mine: bool
    owner: str
    plain: bool


class Index(msgspec.Struct, frozen=True):
    """keys: columns and expressions as `bare` writes them."""

    name: str
    table: str
    unique: bool
    valid: bool
    keys: tuple[str, ...]

    def holds(self, keys: tuple[str, ...]) -> bool:
        """Is it a unique index of exactly these keys, in whatever order?"""
        return self.unique and self.valid and sorted(self.keys) == sorted(map(bare, keys))


class Function(msgspec.Struct, frozen=True):
    name: str
    arguments: str  # types, as DROP FUNCTION takes them
    kind: str
    mine: bool
    owner: str


class Session(msgspec.Struct, frozen=True):
    """Who looks, and at what kind of database."""

    user: str
    server: int
    encoding: str
    reads_only: bool
    may_create: bool
    may_make_temporary: bool


class Inventory(msgspec.Struct):
    """What is there.

    Attributes:
        pinned: (table, column) → what would have to be rebuilt, or stands in the way, if its type changed;
            not what adoption replaces.
        dependents: Name of a view or function that adoption replaces → what depends on it, but for what
            adoption replaces as well.
        attached: Triggers, rules, policies and constraints on the tables of ours, for people.
        hazards: What a step would set off, hit or lose.
        foreign_version: Why the table catalog_version is not that of ours; empty if it is, or is not there.
        schemas: Other schemas, with the number of their relations and functions.
    """

    session: Session
    revision: str | None
    relations: dict[str, Relation]
    columns: dict[str, dict[str, Found]]
    indexes: dict[str, list[Index]]
    functions: list[Function]
    types: list[str]
    pinned: dict[tuple[str, str], list[str]]
    dependents: dict[str, list[str]]
    attached: list[str]
    schemas: list[str]
    extensions: list[str]
    grants: dict[
        str, list[str]
    ]  # of views that adoption makes anew: statements that give others what they have now
    set_view_reads_table: bool
    audio_view_knows_sets: bool
    hazards: Hazards
    foreign_version: str
    providers: dict[str, list[str]]  # of each table of metrics

    def has(self, name: str) -> bool:
        return name in self.relations

    def missing_unique(self, table: str, keys: tuple[str, ...]) -> bool:
        return not any(index.holds(keys) for index in self.indexes.get(table, []))


def bare(key: str) -> str:
    """Return a key without casts and parentheses: `md5((foreign_identifier)::text)` is `md5foreign_identifier`."""
    return key.replace("::text", "").replace("(", "").replace(")", "").replace(" ", "").replace('"', "")


_SESSION = """
    select current_user, current_setting('server_version_num')::int, current_setting('server_encoding'),
           pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool,
           has_schema_privilege('public', 'CREATE'), has_database_privilege(current_database(), 'TEMPORARY')
"""
_RELATIONS = """
    select c.relname, c.relkind::text, c.reltuples::bigint,
           case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid) else 0 end,
           pg_has_role(c.relowner, 'USAGE'), pg_get_userbyid(c.relowner),
           c.relkind <> 'p' and not exists (select from pg_inherits i where c.oid in (i.inhparent, i.inhrelid))
      from pg_class c
     where c.relnamespace = 'public'::regnamespace
       and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
     order by 1
"""
_COLUMNS = """
    select c.relname, a.attname, t.typname, case when t.typname in ('varchar', '_varchar') and a.atttypmod > 4 then a.atttypmod - 4 end,
           a.attnotnull, a.atthasdef or a.attidentity <> '', a.attgenerated <> '', format_type(a.atttypid, a.atttypmod), t.typtype = 'd'
      from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%s)
       and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
     order by c.relname, a.attnum
"""
_INDEXES = """
    select i.relname, c.relname, x.indisunique and x.indpred is null and x.indimmediate, -- ON CONFLICT takes no deferrable one
           x.indisvalid and x.indisready,
           array(select pg_get_indexdef(x.indexrelid, k, true) from generate_series(1, x.indnkeyatts) k order by k)
      from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%s)
     order by 2, 1
"""
_FUNCTIONS = """
    select p.proname, pg_get_function_identity_arguments(p.oid), array_to_string(p.proargtypes::regtype[], ', '), p.prokind::text,
           pg_has_role(p.proowner, 'USAGE'), pg_get_userbyid(p.proowner)
      from pg_proc p
     where p.pronamespace = 'public'::regnamespace
       and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
     order by 1, 2
"""
_TYPES = """
    select t.typname from pg_type t
     where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd', 'r')
       and not exists (select from pg_depend d where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')
     order by 1
"""
# An index of plain columns is kept when varchar becomes text; one with an expression or a condition is built anew, under the lock.
_PINNED = """
    select distinct c.relname, a.attname,
           case when v.relkind in ('v', 'm') then case v.relkind when 'm' then 'materialized view ' else 'view ' end || v.oid::regclass
                else pg_describe_object(d.classid, d.objid, 0) end
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid = a.attnum
      left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
      left join pg_class v on v.oid = r.ev_class
      left join pg_index x on d.classid = 'pg_class'::regclass and x.indexrelid = d.objid
      left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
      left join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
       and f.adnum is distinct from a.attnum
       and not (v.relnamespace is not distinct from c.relnamespace and coalesce(v.relname = any(%(replaced)s), false))
       and not (x.indexrelid is not null and x.indexprs is null and x.indpred is null)
       and coalesce(k.contype not in ('p', 'u', 'n'), true)
    union
    select c.relname, a.attname, pg_describe_object(d.classid, d.objid, d.objsubid) -- a column whose type is the table's row
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid = c.reltype and d.classid = 'pg_class'::regclass
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s) and d.objid <> c.oid
     order by 1, 2, 3
"""
_DEPENDENTS = """
    with replaced as (
        select 'pg_class'::regclass::oid as class, oid, relname as name from pg_class
         where relnamespace = 'public'::regnamespace and relname = any(%(views)s) and relkind in ('v', 'm')
        union all
        select 'pg_type'::regclass::oid, unnest(array[t.oid, t.typarray]), relname from pg_class c join pg_type t on t.oid = c.reltype
         where relnamespace = 'public'::regnamespace and relname = any(%(views)s) and relkind in ('v', 'm')
        union all
        select 'pg_proc'::regclass::oid, oid, proname from pg_proc
         where pronamespace = 'public'::regnamespace and proname = any(%(functions)s)
    )
    select distinct replaced.name,
           case when v.oid is not null then case v.relkind when 'm' then 'materialized view ' else 'view ' end || v.oid::regclass
                else pg_describe_object(d.classid, d.objid, d.objsubid) end
      from replaced
      join pg_depend d on d.refclassid = replaced.class and d.refobjid = replaced.oid and d.deptype = 'n'
      left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
      left join pg_class v on v.oid = r.ev_class
     where not exists (
        select from replaced other
         where (other.class, other.oid) = ('pg_class'::regclass::oid, v.oid) or (other.class, other.oid) = (d.classid, d.objid)
     )
     order by 1, 2
"""
_ATTACHED = """
    select format('trigger %%I on %%I', t.tgname, c.relname) from pg_trigger t join pg_class c on c.oid = t.tgrelid
     where not t.tgisinternal and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
    union all
    select format('rule %%I on %%I', r.rulename, c.relname) from pg_rewrite r join pg_class c on c.oid = r.ev_class
     where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
    union all
    select format('policy %%I on %%I', p.polname, c.relname) from pg_policy p join pg_class c on c.oid = p.polrelid
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
    union all
    select format('constraint %%I on %%I', k.conname, c.relname) from pg_constraint k join pg_class c on c.oid = k.conrelid
     where k.contype in ('c', 'f', 'x') and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
    union all
    select format('foreign key %%I of %%s to %%I', k.conname, k.conrelid::regclass, c.relname)
      from pg_constraint k join pg_class c on c.oid = k.confrelid
     where k.contype = 'f' and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
    union all
    select format('publication of %%I: %%I', c.relname, p.pubname)
      from pg_publication p join pg_publication_rel r on r.prpubid = p.oid join pg_class c on c.oid = r.prrelid
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
    union all
    select format('publication of all tables: %%I', pubname) from pg_publication where puballtables
    order by 1
"""
_SCHEMAS = """
    select format('schema %I: %s relations, %s functions', n.nspname,
                  (select count(*) from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')),
                  (select count(*) from pg_proc p where p.pronamespace = n.oid))
      from pg_namespace n where n.nspname <> 'public' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1
"""
_GRANTS = """
    select c.relname, format('grant select on public.%%I to %%s%%s', c.relname,
                             case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                             case when a.is_grantable then ' with grant option' else '' end)
      from pg_class c cross join aclexplode(c.relacl) a
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(replaced)s) and a.privilege_type = 'SELECT'
       and a.grantee <> c.relowner
     order by 1, 2
"""


def take(connection: Connection) -> Inventory:
    """What the database holds now.

    Args:
        connection: To the database, settled; nothing is changed on it.
    """
    session = connection.execute(_SESSION).fetchone()
    assert session
    relations = {
        row[0]: Relation(row[0], KINDS.get(row[1], row[1]), *row[2:])
        for row in connection.execute(_RELATIONS)
    }
    columns: dict[str, dict[str, Found]] = defaultdict(dict)
    for table, *column in connection.execute(_COLUMNS, [list(TABLES)]):
        columns[table][column[0]] = Found(*column)
    indexes: dict[str, list[Index]] = defaultdict(list)
    for name, table, unique, valid, keys in connection.execute(_INDEXES, [list(TABLES)]):
        indexes[table].append(Index(name, table, unique, valid, tuple(map(bare, keys))))
    names = {
        "tables": list(TABLES),
        "replaced": list(REPLACED_VIEWS),
        "views": list(REPLACED_VIEWS),
        "functions": list(REPLACED_FUNCTIONS),
    }
    pinned: dict[tuple[str, str], list[str]] = defaultdict(list)
    for table, column_name, what in connection.execute(_PINNED, names):
        pinned[table, column_name].append(what)
    dependents: dict[str, list[str]] = defaultdict(list)
    for name, what in connection.execute(_DEPENDENTS, names):
        dependents[name].append(what)
    grants: dict[str, list[str]] = defaultdict(list)
    for name, text in connection.execute(_GRANTS, names):
        grants[name].append(text)
    foreign = _foreign_version(connection, relations)
    return Inventory(
        session=Session(*session),
        revision=None if foreign else _revision(connection, relations),
        foreign_version=foreign,
        hazards=hazards.take(
            connection,
            tables=TABLES,
            views=REPLACED_VIEWS,
            functions=REPLACED_FUNCTIONS,
            kept=tuple(view for view in REPLACED_VIEWS if view not in ("image_view", "audio_view")),
        ),
        relations=relations,
        columns=dict(columns),
        indexes=dict(indexes),
        functions=[Function(n, types, k, m, o) for n, _, types, k, m, o in connection.execute(_FUNCTIONS)],
        types=_texts(connection, _TYPES),
        pinned=dict(pinned),
        dependents=dict(dependents),
        attached=_texts(connection, _ATTACHED, names),
        schemas=_texts(connection, _SCHEMAS),
        extensions=_texts(
            connection, "select extname from pg_extension where extname <> 'plpgsql' order by 1"
        ),
        grants=dict(grants),
        set_view_reads_table=_reads(connection, SET_VIEW, "audio"),
        audio_view_knows_sets=_knows_sets(connection),
        providers=_providers(connection, columns, relations),
    )


def _texts(connection: Connection, query: Any, values: Any = None) -> list[str]:
    return [text for (text,) in connection.execute(query, values)]


def _revision(connection: Connection, relations: dict[str, Relation]) -> str | None:
    if "catalog_version" not in relations or not relations["catalog_version"].mine:
        return None
    row = connection.execute("select max(version_num) from public.catalog_version").fetchone()
    return row[0] if row else None


def _foreign_version(connection: Connection, relations: dict[str, Relation]) -> str:
    if "catalog_version" not in relations or not relations["catalog_version"].mine:
        return ""
    kind = relations["catalog_version"].kind
    if kind != "table":
        return f"is a {kind}"
    columns = _texts(
        connection,
        "select attname || ' ' || atttypid::regtype from pg_attribute "
        "where attrelid = 'public.catalog_version'::regclass and attnum > 0 and not attisdropped order by attnum",
    )
    if columns != ["version_num character varying"]:
        return f"has the columns {', '.join(columns)}"
    odd = _texts(
        connection,
        "select version_num from public.catalog_version where version_num !~ '^\\d{4}$' order by 1",
    )
    return f"names the revision {', '.join(odd)}" if odd else ""


def _reads(connection: Connection, view: str, table: str) -> bool:
    row = connection.execute(
        """
        select exists (select from pg_depend d join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
                        where d.refclassid = 'pg_class'::regclass and r.ev_class = to_regclass(%s) and d.refobjid = to_regclass(%s))
        """,
        [f"public.{view}", f"public.{table}"],
    ).fetchone()
    return bool(row and row[0])


def _knows_sets(connection: Connection) -> bool:
    row = connection.execute(
        "select exists (select from pg_attribute where attrelid = to_regclass('public.audio_view') and attname = %s)",
        [SET_KEY],
    ).fetchone()
    return bool(row and row[0])


def _providers(
    connection: Connection, columns: dict[str, dict[str, Found]], relations: dict[str, Relation]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, query in (
        (METRICS[0], "select provider from public.image_popularity_metrics"),
        (METRICS[1], "select provider from public.audio_popularity_metrics"),
    ):
        if "provider" in columns.get(table, {}) and relations[table].mine:
            found[table] = _texts(connection, query)
    return found
