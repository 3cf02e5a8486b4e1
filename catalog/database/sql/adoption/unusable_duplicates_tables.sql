-- Tables with the name of a table of duplicates that cannot be used as such, and why.
select c.relname,
       case when obj_description(a.oid, 'pg_class') is distinct from %(comment)s
            then 'exists and was not created by an adoption'
            else 'lacks the columns ' || missing.names end
  from pg_class c
  join pg_class a
    on a.relname = c.relname || '_duplicates' and a.relnamespace = c.relnamespace and a.relkind = 'r'
 cross join lateral (
        select string_agg(quote_ident(w.attname), ', ' order by w.attnum)
          from pg_attribute w
         where w.attrelid = c.oid and w.attnum > 0 and not w.attisdropped and w.attgenerated = ''
           and not exists (
                select from pg_attribute f
                 where f.attrelid = a.oid
                   and f.attname = w.attname
                   and f.atttypid = w.atttypid
                   and f.atttypmod = w.atttypmod
                   and not f.attisdropped
           )
  ) as missing (names)
 where c.relnamespace = 'public'::regnamespace
   and c.relname = any(%(tables)s)
   and (obj_description(a.oid, 'pg_class') is distinct from %(comment)s or missing.names is not null)
