-- Enabled rules of the catalog's tables, by the event that fires them, and whether they replace it.
select c.relname, event, quote_ident(r.rulename), r.is_instead
  from pg_rewrite r
  join pg_class c on c.oid = r.ev_class
  join (values ('INSERT', '3'), ('DELETE', '4'), ('UPDATE', '2')) as e (event, letter)
    on letter = r.ev_type::text
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and r.ev_enabled in ('O', 'A')
   and (c.relkind = 'r' or not r.is_instead)
 order by 1, 2, 3
