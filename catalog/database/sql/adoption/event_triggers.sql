-- Enabled event triggers that fire on the statements of an adoption, except those of extensions.
select e.evtname
  from pg_event_trigger e
 where e.evtenabled in ('O', 'A')
   and e.evtevent <> 'login'
   and (
        e.evttags is null
        or exists (
            select from unnest(e.evttags) tag
             where split_part(upper(tag), ' ', 1) in ('CREATE', 'ALTER', 'DROP', 'GRANT', 'COMMENT')
               and upper(tag) ~ ' (TABLE|VIEW|INDEX|FUNCTION|ROUTINE|SEQUENCE)$|^(GRANT|COMMENT)$'
        )
   )
   and not exists (
        select from pg_depend d
         where d.classid = 'pg_event_trigger'::regclass and d.objid = e.oid and d.deptype = 'e'
   )
 order by 1
