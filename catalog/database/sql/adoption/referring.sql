-- Foreign keys to the catalog's tables.
select c.relname, format('%%I of %%s', k.conname, k.conrelid::regclass)
  from pg_constraint k
  join pg_class c on c.oid = k.confrelid
 where k.contype = 'f'
   and k.conparentid = 0
   and c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
 order by 1, 2
