-- Enabled triggers and rules of the catalog's tables, by the event that fires them, except rules that replace it.
select c.relname, event, format('trigger %%I', t.tgname)
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
 cross join (values ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16)) as e (event, bit)
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and not t.tgisinternal
   and t.tgenabled in ('O', 'A')
   and t.tgtype & bit <> 0
 union all
select c.relname, event, format('rule %%I', r.rulename)
  from pg_rewrite r
  join pg_class c on c.oid = r.ev_class
  join (values ('INSERT', '3'), ('DELETE', '4'), ('UPDATE', '2')) as e (event, letter)
    on letter = r.ev_type::text
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and r.ev_enabled in ('O', 'A')
   and not r.is_instead
 order by 1, 2, 3
