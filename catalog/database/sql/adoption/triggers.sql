-- Enabled triggers of the catalog's tables, by the event that fires them.
select c.relname, event, quote_ident(t.tgname)
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
 cross join (values ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16)) as e (event, bit)
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and not t.tgisinternal
   and t.tgenabled in ('O', 'A')
   and t.tgtype & bit <> 0
 order by 1, 2, 3
