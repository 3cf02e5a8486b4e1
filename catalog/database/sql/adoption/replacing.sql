-- Enabled rules because of which a change of the catalog's tables does not happen.
select c.relname, event, quote_ident(r.rulename)
  from pg_rewrite r
  join pg_class c on c.oid = r.ev_class
  join (values ('INSERT', '3'), ('DELETE', '4'), ('UPDATE', '2')) as e (event, letter)
    on letter = r.ev_type::text
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and c.relkind = 'r'
   and r.ev_enabled in ('O', 'A')
   and r.is_instead
 order by 1, 2, 3
