-- Triggers, rules, policies, constraints and publications of the catalog's tables.
select format('trigger %%I on %%I', t.tgname, c.relname)
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
 where not t.tgisinternal and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
 union all
select format('rule %%I on %%I', r.rulename, c.relname)
  from pg_rewrite r
  join pg_class c on c.oid = r.ev_class
 where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
 union all
select format('policy %%I on %%I', p.polname, c.relname)
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
 where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
 union all
select format('constraint %%I on %%I', k.conname, c.relname)
  from pg_constraint k
  join pg_class c on c.oid = k.conrelid
 where k.contype in ('c', 'f', 'x')
   and c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
 union all
select format('foreign key %%I of %%s to %%I', k.conname, k.conrelid::regclass, c.relname)
  from pg_constraint k
  join pg_class c on c.oid = k.confrelid
 where k.contype = 'f' and c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
 union all
select format('publication of %%I: %%I', c.relname, p.pubname)
  from pg_publication p
  join pg_publication_rel r on r.prpubid = p.oid
  join pg_class c on c.oid = r.prrelid
 where c.relnamespace = 'public'::regnamespace and c.relname = any(%(tables)s)
 union all
select format('publication of all tables: %%I', pubname)
  from pg_publication
 where puballtables
 order by 1
