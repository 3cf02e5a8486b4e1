-- Columns of the catalog's tables, with the length limit of a varchar.
select c.relname,
       a.attname,
       t.typname,
       case when t.typname in ('varchar', '_varchar') and a.atttypmod > 4 then a.atttypmod - 4 end,
       a.attnotnull,
       a.atthasdef or a.attidentity <> '',
       a.attgenerated <> '',
       format_type(a.atttypid, a.atttypmod),
       t.typtype = 'd'
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_type t on t.oid = a.atttypid
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%s)
   and c.relkind in ('r', 'p')
   and a.attnum > 0
   and not a.attisdropped
 order by c.relname, a.attnum
