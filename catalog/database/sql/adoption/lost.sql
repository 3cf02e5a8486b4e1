-- Grants, triggers, rules, comments, options and settings of replaced views and functions that are lost. SELECT
-- is granted again on views that are recreated.
with replaced as (
    select c.oid, c.relname, c.relowner, c.relacl, c.reloptions
      from pg_class c
     where c.relnamespace = 'public'::regnamespace
       and c.relname = any(%(views)s)
       and c.relkind in ('v', 'm')
),
routines as (
    select p.oid,
           format('function %%I(%%s)', p.proname, pg_get_function_identity_arguments(p.oid)) as name,
           p.proowner, p.proacl, p.proconfig, p.prosecdef
      from pg_proc p
     where p.pronamespace = 'public'::regnamespace and p.proname = any(%(functions)s)
),
role (oid, name) as (
    select oid, quote_ident(rolname) from pg_roles
     union all
    select 0, 'PUBLIC'
)
select format('%%s on %%I, granted to %%s', a.privilege_type, v.relname, role.name)
  from replaced v
 cross join aclexplode(v.relacl) a
  join role on role.oid = a.grantee
 where a.grantee <> v.relowner
   and not (a.privilege_type = 'SELECT' and v.relname = any(%(recreated)s))
 union all
select format('%%s on column %%I.%%I, granted to %%s', a.privilege_type, v.relname, t.attname, role.name)
  from replaced v
  join pg_attribute t on t.attrelid = v.oid
 cross join aclexplode(t.attacl) a
  join role on role.oid = a.grantee
 union all
select format('trigger %%I on %%I', t.tgname, v.relname)
  from replaced v
  join pg_trigger t on t.tgrelid = v.oid
 where not t.tgisinternal
 union all
select format('rule %%I on %%I', r.rulename, v.relname)
  from replaced v
  join pg_rewrite r on r.ev_class = v.oid
 where r.rulename <> '_RETURN'
 union all
select 'the comment on ' || pg_describe_object(d.classoid, d.objoid, d.objsubid)
  from pg_description d
 where (d.classoid = 'pg_class'::regclass and d.objoid in (select oid from replaced))
    or (d.classoid = 'pg_proc'::regclass and d.objoid in (select oid from routines))
 union all
select format('options of %%I: %%s', v.relname, array_to_string(v.reloptions, ', '))
  from replaced v
 where v.reloptions is not null
 union all
select format(
            'EXECUTE on %%s, which was granted to %%s only',
            r.name,
            coalesce(
                (
                    select string_agg(role.name, ', ' order by role.name)
                      from aclexplode(r.proacl) a
                      join role on role.oid = a.grantee
                     where a.grantee <> r.proowner
                ),
                'its owner'
            )
       )
  from routines r
 where r.proacl is not null and not exists (select from aclexplode(r.proacl) a where a.grantee = 0)
 union all
select format('settings of %%s (SECURITY DEFINER, SET)', r.name)
  from routines r
 where r.prosecdef or r.proconfig is not null
 order by 1
