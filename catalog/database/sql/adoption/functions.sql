-- Functions, procedures and aggregates of the schema public that belong to no extension.
select p.proname,
       array_to_string(p.proargtypes::regtype[], ', '),
       p.prokind::text,
       pg_has_role(p.proowner, 'USAGE'),
       pg_get_userbyid(p.proowner)
  from pg_proc p
 where p.pronamespace = 'public'::regnamespace
   and not exists (
        select from pg_depend d
         where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
   )
 order by 1, pg_get_function_identity_arguments(p.oid)
