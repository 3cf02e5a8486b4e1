-- Relations of the schema public that belong to no extension.
select c.relname,
       c.relkind::text,
       c.reltuples::bigint,
       case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid) else 0 end,
       pg_has_role(c.relowner, 'USAGE'),
       pg_get_userbyid(c.relowner),
       c.relkind <> 'p' and not exists (select from pg_inherits i where c.oid in (i.inhparent, i.inhrelid)),
       c.relpersistence = 'u',
       c.relkind = 'r' and row_security_active(c.oid)
  from pg_class c
 where c.relnamespace = 'public'::regnamespace
   and not exists (
        select from pg_depend d
         where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
   )
 order by 1
