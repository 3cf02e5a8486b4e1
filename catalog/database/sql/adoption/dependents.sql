-- Objects that depend on the views and functions that adoption replaces, except these themselves.
with replaced as (
    select 'pg_class'::regclass::oid as class, oid, relname as name
      from pg_class
     where relnamespace = 'public'::regnamespace and relname = any(%(views)s) and relkind in ('v', 'm')
     union all
    select 'pg_type'::regclass::oid, unnest(array[t.oid, t.typarray]), relname
      from pg_class c
      join pg_type t on t.oid = c.reltype
     where relnamespace = 'public'::regnamespace and relname = any(%(views)s) and relkind in ('v', 'm')
     union all
    select 'pg_proc'::regclass::oid, oid, proname
      from pg_proc
     where pronamespace = 'public'::regnamespace and proname = any(%(functions)s)
)
select distinct replaced.name,
       case when v.relkind = 'm' then 'materialized view ' || v.oid::regclass
            when v.oid is not null then 'view ' || v.oid::regclass
            else pg_describe_object(d.classid, d.objid, d.objsubid) end
  from replaced
  join pg_depend d on d.refclassid = replaced.class and d.refobjid = replaced.oid and d.deptype = 'n'
  left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  left join pg_class v on v.oid = r.ev_class
 where not exists (
        select from replaced other
         where (other.class, other.oid) = ('pg_class'::regclass::oid, v.oid)
            or (other.class, other.oid) = (d.classid, d.objid)
 )
 order by 1, 2
