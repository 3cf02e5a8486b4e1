-- Of how many rows to load the stored record was written at each of some moments or later.
select moment, count(*)
  from {loading} new
  join {table} old
    on old.provider = new.provider and md5(old.foreign_identifier) = md5(new.foreign_identifier)
  join unnest({moments}::timestamptz[]) moment on old.last_synced_with_source >= moment
 where new.rejected is null
 group by 1
