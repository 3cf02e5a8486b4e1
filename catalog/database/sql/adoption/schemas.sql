-- Schemas other than public and PostgreSQL's own, with the number of their relations and functions.
select format(
            'schema %I: %s relations, %s functions',
            n.nspname,
            (
                select count(*)
                  from pg_class c
                 where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')
            ),
            (select count(*) from pg_proc p where p.pronamespace = n.oid)
       )
  from pg_namespace n
 where n.nspname <> 'public' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
 order by 1
