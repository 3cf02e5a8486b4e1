-- Objects because of which a change of a column's type is refused, or rebuilds an index under the lock.
-- PostgreSQL keeps an index of plain columns when varchar becomes text; it rebuilds one with an expression or
-- a condition.
select distinct c.relname,
       a.attname,
       case when v.relkind = 'm' then 'materialized view ' || v.oid::regclass
            when v.relkind = 'v' then 'view ' || v.oid::regclass
            else pg_describe_object(d.classid, d.objid, 0) end
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_depend d
    on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid = a.attnum
  left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  left join pg_class v on v.oid = r.ev_class
  left join pg_index x on d.classid = 'pg_class'::regclass and x.indexrelid = d.objid
  left join pg_constraint k on d.classid = 'pg_constraint'::regclass and k.oid = d.objid
  left join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and f.adnum is distinct from a.attnum
   and not (
        v.relnamespace is not distinct from c.relnamespace
        and coalesce(v.relname = any(%(views)s), false)
   )
   and not (x.indexrelid is not null and x.indexprs is null and x.indpred is null)
   and coalesce(k.contype not in ('p', 'u', 'n'), true)
 union
-- Columns of other tables whose type is the row type of the table.
select c.relname, a.attname, pg_describe_object(d.classid, d.objid, d.objsubid)
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_depend d
    on d.refclassid = 'pg_type'::regclass and d.refobjid = c.reltype and d.classid = 'pg_class'::regclass
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and d.objid <> c.oid
 order by 1, 2, 3
