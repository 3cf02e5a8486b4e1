-- Of how many rows to load the stored record was written at each of some moments or later. The moments are in order. Each
-- row is counted once, by the number of moments up to its own: there may be a moment for each load of the last years.
with written as (
    select width_bucket(old.last_synced_with_source, {moments}::timestamptz[]) as place, count(*) as number
      from {loading} new
      join {table} old
        on old.provider = new.provider and md5(old.foreign_identifier) = md5(new.foreign_identifier)
     where new.rejected is null and old.last_synced_with_source >= {oldest}::timestamptz
     group by 1
)
select moment, sum(number)::bigint
  from unnest({moments}::timestamptz[]) with ordinality moments (moment, n)
  join written on place >= n
 group by 1
