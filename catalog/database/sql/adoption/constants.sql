-- Columns of the populated materialized views of popularity constants.
select c.relname, array_agg(a.attname::text)
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relnamespace = 'public'::regnamespace
   and c.relkind = 'm'
   and c.relispopulated
   and c.relname ~ '^(image|audio)_popularity_constants$'
 group by 1
