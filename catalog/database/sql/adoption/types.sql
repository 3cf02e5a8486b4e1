-- Enums, domains and ranges of the schema public that belong to no extension.
select t.typname
  from pg_type t
 where t.typnamespace = 'public'::regnamespace
   and t.typtype in ('e', 'd', 'r')
   and not exists (
        select from pg_depend d
         where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'
   )
 order by 1
