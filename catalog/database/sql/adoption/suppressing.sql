-- Enabled triggers of the catalog's tables that run before a change of a row, and can suppress it.
select format(
            'trigger %%I of %%I runs before each row, and its function %%s has RETURN NULL: where it does so, '
            'rows are not changed, without an error.',
            t.tgname, c.relname, p.oid::regprocedure
       )
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_proc p on p.oid = t.tgfoid
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and not t.tgisinternal
   and t.tgenabled in ('O', 'A')
   and t.tgtype & 3 = 3
   and p.prosrc ~* '\mreturn\s+null\M'
 order by 1
