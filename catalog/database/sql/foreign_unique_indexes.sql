-- Unique indexes that may refuse a record although its identifier, URL and key are free.
select 'unique index ' || relname as name
  from pg_index join pg_class on pg_class.oid = indexrelid
 where indrelid = %(table)s::regclass and (indisunique or indisexclusion) and relname <> %(key)s
   and not exists (
       select from pg_attribute where attrelid = indrelid and attnum = any(indkey) and attname in ('url', 'identifier')
   )
 order by 1
