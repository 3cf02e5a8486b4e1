-- Statements that grant SELECT on a recreated view to the roles that have it now.
select c.relname,
       format(
            'grant select on public.%%I to %%s%%s',
            c.relname,
            case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
            case when a.is_grantable then ' with grant option' else '' end
       )
  from pg_class c
 cross join aclexplode(c.relacl) a
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(views)s)
   and a.privilege_type = 'SELECT'
   and a.grantee <> c.relowner
 order by 1, 2
