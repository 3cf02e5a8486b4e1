"""Foreign objects attached to a catalog that a step of adoption would trigger, block or lose.

Read from the system catalogs; `refusals.py` and `plan.py` say what follows from it.
"""

from collections import defaultdict

import msgspec

from catalog.core.session import Connection

ASIDE = "Rows that should be unique and are not, moved here by catalog db adopt --duplicates"
"""The comment by which a table of duplicates is known to be ours."""


class Hazards(msgspec.Struct, frozen=True):
    """What is tied to the catalog's objects.

    Attributes:
        event_triggers: Those that fire on what adoption runs, but for those of extensions.
        fired: (table, DELETE, UPDATE or INSERT) → triggers and rules of users that fire.
        referring: Table → foreign keys of other tables to it.
        asides: Table → why the table of its duplicates is somebody else's, or does not fit.
        lost: What replaced views and functions have that is not made again, for people.
        constants: Materialized views of constants → their columns, where they hold rows.
    """

    event_triggers: tuple[str, ...]
    fired: dict[tuple[str, str], list[str]]
    referring: dict[str, list[str]]
    asides: dict[str, str]
    lost: tuple[str, ...]
    constants: dict[str, list[str]]


_EVENT_TRIGGERS = """
    select e.evtname from pg_event_trigger e
     where e.evtenabled in ('O', 'A') and e.evtevent <> 'login'
       and (e.evttags is null or exists (
            select from unnest(e.evttags) tag where split_part(upper(tag), ' ', 1) in ('CREATE', 'ALTER', 'DROP', 'GRANT', 'COMMENT')
              and upper(tag) ~ ' (TABLE|VIEW|INDEX|FUNCTION|ROUTINE|SEQUENCE)$|^(GRANT|COMMENT)$'))
       and not exists (select from pg_depend d where d.classid = 'pg_event_trigger'::regclass and d.objid = e.oid and d.deptype = 'e')
     order by 1
"""
_FIRED = """
    select c.relname, event, format('trigger %%I', t.tgname)
      from pg_trigger t join pg_class c on c.oid = t.tgrelid
      cross join (values ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16)) as e (event, bit)
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
       and not t.tgisinternal and t.tgenabled in ('O', 'A') and t.tgtype & bit <> 0
    union all
    select c.relname, event, format('rule %%I', r.rulename)
      from pg_rewrite r join pg_class c on c.oid = r.ev_class
      join (values ('INSERT', '3'), ('DELETE', '4'), ('UPDATE', '2')) as e (event, letter) on letter = r.ev_type::text
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s) and r.ev_enabled in ('O', 'A')
     order by 1, 2, 3
"""
_REFERRING = """
    select c.relname, format('%%I of %%s', k.conname, k.conrelid::regclass)
      from pg_constraint k join pg_class c on c.oid = k.confrelid
     where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
     order by 1, 2
"""
_ASIDES = """
    select c.relname,
           case when obj_description(a.oid, 'pg_class') is distinct from %(comment)s then 'and was not made by adoption'
                else 'and lacks ' || missing.names end
      from pg_class c join pg_class a on a.relname = c.relname || '_duplicates' and a.relnamespace = c.relnamespace and a.relkind = 'r'
      cross join lateral (
        select string_agg(quote_ident(w.attname), ', ' order by w.attnum) from pg_attribute w
         where w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped and w.attgenerated = ''
           and not exists (select from pg_attribute f where f.attrelid = a.oid and f.attname = w.attname and f.atttypid = w.atttypid
                                                       and f.atttypmod = w.atttypmod and not f.attisdropped)
      ) as missing (names)
     where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
       and (obj_description(a.oid, 'pg_class') is distinct from %(comment)s or missing.names is not null)
"""
# SELECT on the one view that is made again is granted again.
_LOST = """
    with replaced as (
        select c.oid, c.relname, c.relowner, c.relacl, c.reloptions from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relname = any(%(views)s) and c.relkind in ('v', 'm')
    ), routines as (
        select p.oid, format('function %%I(%%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as name, p.proowner, p.proacl,
               p.proconfig, p.prosecdef
          from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname = any(%(functions)s)
    ), role (oid, name) as (select oid, quote_ident(rolname) from pg_roles union all select 0, 'PUBLIC')
    select format('%%s on %%I, granted to %%s', a.privilege_type, v.relname, role.name)
      from replaced v cross join aclexplode(v.relacl) a join role on role.oid = a.grantee
     where a.grantee <> v.relowner and not (a.privilege_type = 'SELECT' and v.relname = any(%(kept)s))
    union all
    select format('%%s on column %%I.%%I, granted to %%s', a.privilege_type, v.relname, t.attname, role.name)
      from replaced v join pg_attribute t on t.attrelid = v.oid cross join aclexplode(t.attacl) a join role on role.oid = a.grantee
    union all
    select format('trigger %%I on %%I', t.tgname, v.relname) from replaced v join pg_trigger t on t.tgrelid = v.oid where not t.tgisinternal
    union all
    select format('rule %%I on %%I', r.rulename, v.relname) from replaced v join pg_rewrite r on r.ev_class = v.oid
     where r.rulename <> '_RETURN'
    union all
    select format('the comment on %%s%%s', pg_describe_object(d.classoid, d.objoid, d.objsubid), '')
      from pg_description d
     where (d.classoid = 'pg_class'::regclass and d.objoid in (select oid from replaced))
        or (d.classoid = 'pg_proc'::regclass and d.objoid in (select oid from routines))
    union all
    select format('options of %%I: %%s', v.relname, array_to_string(v.reloptions, ', ')) from replaced v where v.reloptions is not null
    union all
    select format('EXECUTE on %%s, which was granted to %%s only', r.name,
                  coalesce((select string_agg(role.name, ', ' order by role.name) from aclexplode(r.proacl) a
                              join role on role.oid = a.grantee where a.grantee <> r.proowner), 'its owner'))
      from routines r where r.proacl is not null and not exists (select from aclexplode(r.proacl) a where a.grantee = 0)
    union all
    select format('settings of %%s (SECURITY DEFINER, SET)', r.name) from routines r where r.prosecdef or r.proconfig is not null
     order by 1
"""
_CONSTANTS = """
    select c.relname, array_agg(a.attname::text)
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace = 'public'::regnamespace and c.relkind = 'm' and c.relispopulated
       and c.relname ~ '^(image|audio)_popularity_constants$'
     group by 1
"""


def aside_name(table: str) -> str:
    """The table that takes the duplicates of a table."""
    return f"{table}_duplicates"


def take(
    connection: Connection,
    *,
    tables: tuple[str, ...],
    views: tuple[str, ...],
    functions: tuple[str, ...],
    kept: tuple[str, ...],
) -> Hazards:
    """Look for all of them; nothing is changed.

    Args:
        connection: To the database.
        tables: Of the catalog.
        views: That adoption replaces.
        functions: That adoption replaces.
        kept: Views of which SELECT is granted again.
    """
    names = {
        "tables": list(tables),
        "views": list(views),
        "functions": list(functions),
        "kept": list(kept),
        "comment": ASIDE,
    }
    fired: dict[tuple[str, str], list[str]] = defaultdict(list)
    for table, event, what in connection.execute(_FIRED, names):
        fired[table, event].append(what)
    referring: dict[str, list[str]] = defaultdict(list)
    for table, what in connection.execute(_REFERRING, names):
        referring[table].append(what)
    return Hazards(
        event_triggers=tuple(name for (name,) in connection.execute(_EVENT_TRIGGERS)),
        fired=dict(fired),
        referring=dict(referring),
        asides=dict(connection.execute(_ASIDES, names).fetchall()),
        lost=tuple(text for (text,) in connection.execute(_LOST, names)),
        constants=dict(connection.execute(_CONSTANTS).fetchall()),
    )
