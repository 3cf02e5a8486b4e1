-- The session that works on a query_id, and whether it belongs to this run.
with held as (
    select pid, objsubid, (classid::bigint << 32) | objid::bigint as key from pg_locks
     where locktype = 'advisory' and granted
       and database = (select oid from pg_database where datname = current_database())
)
select a.pid, a.backend_start,
       exists (select from held m where m.pid = a.pid and m.objsubid = 2
                  and m.key = ({family}::bigint << 32) | ({run}::bigint & 4294967295))
  from held join pg_stat_activity a using (pid) where objsubid = 1 and key = {family}::bigint
