-- Whether a view reads a table.
select exists (
    select from pg_depend d
      join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
     where d.refclassid = 'pg_class'::regclass
       and r.ev_class = to_regclass(%s)
       and d.refobjid = to_regclass(%s)
)
