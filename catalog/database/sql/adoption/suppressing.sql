-- Enabled triggers of the catalog's tables that run before a change of a row, and can suppress it.
select format(
            'trigger %%I of %%I runs before each row, and its function %%s has %%s: where it does so, '
            'rows or values are not changed, without an error.',
            t.tgname, c.relname, p.oid::regprocedure, found.text
       )
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_proc p on p.oid = t.tgfoid
 cross join lateral (
    select case when p.prosrc ~* '\mreturn\s+null\M' then 'RETURN NULL'
                when t.tgtype & 16 = 0 then null -- no update
                when p.prosrc ~* '\mreturn\s+old\M' then 'RETURN OLD'
                when p.prosrc ~* '(\m(begin|then|else)\M|;)\s*new\.\w+\s*:?=\s*old\.' then 'NEW.<column> := OLD.<column>' end as text
 ) found
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and not t.tgisinternal
   and t.tgenabled in ('O', 'A')
   and t.tgtype & 3 = 3
   and found.text is not null
 order by 1
