-- Tables whose changes are published, and whose rows have no key for it: PostgreSQL refuses to change them.
select distinct c.relname
  from pg_publication_tables t
  join pg_publication p on p.pubname = t.pubname and (p.pubupdate or p.pubdelete)
  join pg_class c on c.relnamespace = 'public'::regnamespace and c.relname = t.tablename
 where t.schemaname = 'public'
   and c.relname = any(%(tables)s)
   and (
        c.relreplident = 'n'
        or (c.relreplident = 'd' and not exists (
            select from pg_index where indrelid = c.oid and indisprimary
        ))
        or (c.relreplident = 'i' and not exists (
            select from pg_index where indrelid = c.oid and indisreplident
        ))
   )
 order by 1
