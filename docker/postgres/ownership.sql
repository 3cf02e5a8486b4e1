-- Make :owner the owner of all objects of superusers in this database, except system schemas and extensions.
select set_config('carry_over.owner', :'owner', false) \g /dev/null

do $do$
declare
    statement text;
begin
    for statement in
        with superuser as (select oid from pg_roles where rolsuper),
        ours as (
            select oid, nspname from pg_namespace where nspname not like 'pg\_%' and nspname <> 'information_schema'
        ),
        -- Members of extensions keep their owner. Sequences of columns follow their table, as indexes and row types do.
        follows as (
            select classid, objid from pg_depend where deptype = 'e'
             union
            select d.classid, d.objid from pg_depend d join pg_class c on c.oid = d.objid and c.relkind = 'S'
             where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
        ),
        found (classid, oid, kind, name, owner) as (
            select 'pg_namespace'::regclass, n.oid, 'schema', format('%I', n.nspname), n.nspowner
              from pg_namespace n join ours on ours.oid = n.oid
             union all
            select 'pg_class'::regclass, c.oid,
                   case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
                                  when 'f' then 'foreign table' when 'c' then 'type' else 'table' end,
                   format('%I.%I', ours.nspname, c.relname), c.relowner
              from pg_class c join ours on ours.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
             union all
            select 'pg_proc'::regclass, p.oid, 'routine', p.oid::regprocedure::text, p.proowner
              from pg_proc p join ours on ours.oid = p.pronamespace
             union all
            select 'pg_type'::regclass, t.oid, case t.typtype when 'd' then 'domain' else 'type' end,
                   format('%I.%I', ours.nspname, t.typname), t.typowner
              from pg_type t join ours on ours.oid = t.typnamespace where t.typtype in ('d', 'e', 'r')
        )
        select format('alter %s %s owner to %I', kind, name, current_setting('carry_over.owner'))
          from found join superuser on superuser.oid = found.owner
         where not exists (select from follows f where f.classid = found.classid and f.objid = found.oid)
    loop
        execute statement;
    end loop;
end
$do$;
