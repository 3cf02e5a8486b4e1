"""The new table takes the live table's place: indexes and constraints first, while nobody uses it; then the exchange, in one transaction.

Names of indexes, constraints and sequences stay what they are, whatever they are: they are read from the live table, never derived.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from catalog.data_refresh.columns import progress_name, public, temp_name
from catalog.ingestion.errors import Fatal, Retry

log = logging.getLogger(__name__)
Connection = psycopg.Connection[Any]
LOCK_SECONDS, LOCK_TRIES = 5, 60  # an exchange waits so long for the table, then lets others pass


class Promoted(msgspec.Struct):
    """What an exchange did. orphans: foreign key → rows that named media which are gone."""

    orphans: dict[str, int] = {}


def build_indexes(api: Connection, table: str, progress: Callable[[str], None] = lambda _: None) -> int:
    """Indexes, keys, unique constraints and storage options as the live table has them; what is there stays. Number of indexes."""
    api.execute("set maintenance_work_mem = '256MB'")
    options = _rows(
        api, "select unnest(reloptions) as option from pg_class where oid = to_regclass(%s)", [public(table)]
    )
    if options:
        settings = sql.SQL(", ").join(sql.SQL(row.option) for row in options)
        api.execute(sql.SQL("alter table {} set ({})").format(sql.Identifier(temp_name(table)), settings))
    indexes = _indexes(api, table)
    for number, index in enumerate(indexes, 1):
        name = f"temp_import_{index.oid}"
        if not api.execute(
            "select 1 from pg_index where indexrelid = to_regclass(%s) and indisvalid", [public(name)]
        ).fetchone():
            progress(f"{table}: index {number} of {len(indexes)}, {index.name}")
            parts = {
                "unique": sql.SQL("unique" if index.indisunique else ""), "name": sql.Identifier(name), "using": sql.SQL(index.using),
                "temp": sql.Identifier(temp_name(table)), "kind": sql.SQL("primary key" if index.indisprimary else "unique"),
                "deferral": sql.SQL(index.deferral),
            }  # fmt: skip
            with api.transaction():
                api.execute(sql.SQL("create {unique} index {name} on {temp} using {using}").format(**parts))
                if index.constraint:
                    api.execute(
                        sql.SQL(
                            "alter table {temp} add constraint {name} {kind} using index {name} {deferral}"
                        ).format(**parts)
                    )
    api.execute(sql.SQL("analyze {}").format(sql.Identifier(temp_name(table))))
    return len(indexes)


def _indexes(api: Connection, table: str) -> Sequence[Any]:
    """Of each index of a table: oid, name, what stands behind USING in its definition, whether a constraint owns it and how that defers."""
    return _rows(
        api,
        """
        select c.oid, c.relname as name, i.indisunique, i.indisprimary, k.oid is not null as constraint,
               substr(pg_get_indexdef(c.oid), length(format('CREATE %%sINDEX %%I ON %%I.%%I USING ',
                      case when i.indisunique then 'UNIQUE ' else '' end, c.relname, n.nspname, t.relname)) + 1) as using,
               case when k.condeferrable then 'deferrable initially ' || case when k.condeferred then 'deferred' else 'immediate' end
                    else '' end as deferral
          from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
          join pg_namespace n on n.oid = t.relnamespace
          left join pg_constraint k on k.conindid = c.oid and k.conrelid = t.oid and k.contype in ('p', 'u')
         where i.indrelid = to_regclass(%s) and not i.indisexclusion and i.indisvalid
         order by i.indisprimary desc, c.relname
        """,
        [public(table)],
    )


def catch_up(api: Connection, table: str) -> int:
    """What has changed in the live table since the copy began and only the API knows (view counts): into the new one. Number of rows."""
    if not _rows(api, "select 1 where to_regclass(%s) is not null", [public(temp_name(table))]):
        return 0  # an earlier try has promoted it
    state = _rows(
        api, sql.SQL("select state -> 'own' as own from {}").format(sql.Identifier(progress_name(table)))
    )
    carried = state[0].own if state else []
    if not carried:
        return 0
    statement = sql.SQL("""
        update {temp} t set ({columns}) = row({theirs})
          from {live} l, (select began::xid as began from {progress}) p
         where age(l.xmin) <= age(p.began) and t.id = l.id and ({mine}) is distinct from ({theirs})
    """).format(
        temp=sql.Identifier(temp_name(table)), live=sql.Identifier(table), progress=sql.Identifier(progress_name(table)),
        columns=sql.SQL(", ").join(map(sql.Identifier, carried)),
        theirs=sql.SQL(", ").join(sql.Identifier("l", name) for name in carried),
        mine=sql.SQL(", ").join(sql.Identifier("t", name) for name in carried),
    )  # fmt: skip
    return api.execute(statement).rowcount


def promote(
    api: Connection, tables: Iterable[str], run_id: str, pause: Callable[[float], None] = time.sleep
) -> Promoted:
    """All tables of a medium at once. A call for a run that has been promoted changes nothing.

    Raises Retry when somebody holds a table for minutes, Fatal when something that a refresh does not know hangs on one of them.
    """
    wanted = [t for t in tables if not _promoted(api, t, run_id)]
    promoted = Promoted()
    for attempt in range(LOCK_TRIES):
        promoted.orphans = {}
        try:
            with api.transaction():
                api.execute("select set_config('lock_timeout', %s, true)", [f"{LOCK_SECONDS}s"])
                for table in wanted:
                    promoted.orphans |= _exchange(api, table)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            log.info("somebody holds %s; try %d of %d.", " or ".join(wanted), attempt + 1, LOCK_TRIES)
            pause(2)
        except psycopg.errors.DependentObjectsStillExist as error:
            raise Fatal(
                f"{error.diag.message_primary}: {error.diag.message_detail}. Nothing was changed."
            ) from None
        else:
            return promoted
    raise Retry(
        f"{' or '.join(wanted)} could not be locked; end the sessions that hold it. The old tables are still live."
    )


def _promoted(api: Connection, table: str, run_id: str) -> bool:
    if not api.execute("select to_regclass(%s)", [public(progress_name(table))]).fetchone()[0]:  # type: ignore[index]
        raise Fatal(f"nothing was copied for {table}; clear the tasks that copy.")
    row = api.execute(
        sql.SQL("select run_id, to_regclass(%s) is null from {}").format(
            sql.Identifier(progress_name(table))
        ),
        [public(temp_name(table))],
    ).fetchone()
    if not row or row[0] != run_id:
        raise Fatal(f"what was copied for {table} is another run's; clear the tasks that copy.")
    return bool(row[1])


def _exchange(api: Connection, table: str) -> dict[str, int]:
    """Drop the live table and give its name, and all that hung on it, to the new one. Number of orphans by foreign key."""
    live, temp = sql.Identifier(table), sql.Identifier(temp_name(table))
    api.execute(sql.SQL("lock table {} in access exclusive mode").format(live))
    if _rows(api, "select 1 where to_regclass(%s) is not null", [public(f"api_deleted{table}")]):
        gone = sql.Identifier(f"api_deleted{table}")
        api.execute(
            sql.SQL("delete from {temp} using {gone} where {temp}.identifier = {gone}.identifier").format(
                temp=temp, gone=gone
            )
        )
    indexes, inward, outward = (
        _indexes(api, table),
        _foreign_keys(api, table, "confrelid"),
        _foreign_keys(api, table, "conrelid"),
    )
    grants, triggers = _grants(api, table), _triggers(api, table)
    owner = _rows(
        api,
        "select pg_get_userbyid(relowner) as name from pg_class where oid = to_regclass(%s)",
        [public(table)],
    )[0].name
    orphans = {}
    for key in inward:
        child = sql.Identifier(key.schema, key.child)
        pairs = [
            (sql.Identifier("c", a), sql.Identifier("t", b))
            for a, b in zip(key.columns, key.parents, strict=True)
        ]
        orphaned = sql.SQL("delete from {child} c where {given} and not exists (select from {temp} t where {same})").format(
            child=child, temp=temp, given=sql.SQL(" and ").join(sql.SQL("{} is not null").format(column) for column, _ in pairs),
            same=sql.SQL(" and ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs),
        )  # fmt: skip
        orphans[key.name] = api.execute(orphaned).rowcount
        api.execute(sql.SQL("set constraints all immediate"))
        api.execute(sql.SQL("alter table {} drop constraint {}").format(child, sql.Identifier(key.name)))
    _keep_sequence(api, table)
    api.execute(sql.SQL("drop table {}").format(live))
    api.execute(sql.SQL("alter table {} rename to {}").format(temp, live))
    for index in indexes:
        renamed = sql.SQL("alter index {} rename to {}").format(
            sql.Identifier(f"temp_import_{index.oid}"), sql.Identifier(index.name)
        )
        api.execute(renamed)  # and with it the constraint that owns it
    for key in [*inward, *outward]:
        child = sql.Identifier(key.schema, key.child)
        api.execute(
            sql.SQL("alter table {} add constraint {} {}").format(
                child, sql.Identifier(key.name), sql.SQL(key.definition)
            )
        )
    for statement in [*triggers, *grants]:
        api.execute(sql.SQL(statement))
    if owner != _rows(api, "select current_user as name")[0].name:
        api.execute(sql.SQL("alter table {} owner to {}").format(live, sql.Identifier(owner)))
    return orphans


def _keep_sequence(api: Connection, table: str) -> None:
    """The sequence of the ids belongs to the live table, if it belongs to one: it would go with it."""
    sequence = _rows(
        api,
        """
        select d.objid::regclass::text as name from pg_depend d
         where d.refobjid = to_regclass(%s) and d.deptype = 'a' and d.classid = 'pg_class'::regclass
           and (select relkind from pg_class where oid = d.objid) = 'S'
        """,
        [public(table)],
    )
    for row in sequence:
        api.execute(
            sql.SQL("alter sequence {} owned by {}.id").format(
                sql.SQL(row.name), sql.Identifier(temp_name(table))
            )
        )


def _foreign_keys(api: Connection, table: str, side: LiteralString) -> Sequence[Any]:
    """Foreign keys that point at a table (side confrelid) or from it (conrelid); those from it to itself count as pointing at it."""
    query: LiteralString = """
        select k.conname as name, n.nspname as schema, c.relname as child, pg_get_constraintdef(k.oid) as definition,
               array(select attname::text from unnest(k.conkey) with ordinality u (num, place)
                       join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.num order by place) as columns,
               array(select attname::text from unnest(k.confkey) with ordinality u (num, place)
                       join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.num order by place) as parents
          from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
         where k.contype = 'f' and k.conparentid = 0 and k.conrelid <> k.confrelid and k."""
    return _rows(api, query + side + " = to_regclass(%s) order by 1", [public(table)])


def _grants(api: Connection, table: str) -> list[LiteralString]:
    """Statements that give others the rights they have on a table, and on its columns."""
    rows = _rows(
        api,
        """
        select format('grant %%s%%s on public.%%I to %%s%%s', privilege_type,
                      case when columns is null then '' else format(' (%%I)', columns) end, %s::text,
                      case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end,
                      case when is_grantable then ' with grant option' else '' end) as statement
          from (select (aclexplode(relacl)).*, relowner, null::name as columns from pg_class where oid = to_regclass(%s)
                 union all
                select (aclexplode(attacl)).*, relowner, attname from pg_attribute join pg_class c on c.oid = attrelid
                 where attrelid = to_regclass(%s) and attacl is not null) acl
         where grantee <> relowner
        """,
        [table, public(table), public(table)],
    )
    return [row.statement for row in rows]


def _triggers(api: Connection, table: str) -> list[LiteralString]:
    rows = _rows(
        api,
        "select pg_get_triggerdef(oid) as statement from pg_trigger where tgrelid = to_regclass(%s) and not tgisinternal",
        [public(table)],
    )
    return [row.statement for row in rows]


def left_overs(api: Connection, tables: Iterable[str], run_id: str) -> list[str]:
    """Those of the tables that another run than this one has begun to copy."""
    found = []
    for table in tables:
        ours = False
        if _rows(api, "select 1 where to_regclass(%s) is not null", [public(progress_name(table))]):
            ours = bool(
                _rows(
                    api,
                    sql.SQL("select 1 from {} where run_id = {}").format(
                        sql.Identifier(progress_name(table)), run_id
                    ),
                )
            )
        if not ours:
            found.append(table)
    return found


def drop_left_overs(api: Connection, tables: Iterable[str]) -> None:
    """Tables that a refresh made and does not need any more."""
    for table in tables:
        names = sql.SQL(", ").join(map(sql.Identifier, (temp_name(table), progress_name(table))))
        api.execute(sql.SQL("drop table if exists {}").format(names))


def _rows(api: Connection, query: LiteralString | sql.Composed, values: Sequence[Any] = ()) -> Sequence[Any]:
    with api.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query, values).fetchall()
