-- Remove what is kept of earlier deletions of the rows of `source`.
with again as materialized (
    select identifier, provider, md5(foreign_identifier) as key from {table} join {source} source on identifier = source.id
)
delete from {deleted} where identifier in (
    select identifier from again
     union all
    select d.identifier from again
      join {deleted} d on d.provider = again.provider and md5(d.foreign_identifier) = again.key
)
