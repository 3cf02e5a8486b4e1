-- Remove what is kept of earlier deletions of the rows of `source`. If a row had another URL then, that one stays deleted.
with again as materialized (
    select identifier, provider, md5(foreign_identifier) as key, url from {table} join {source} source on identifier = source.id
), gone as (
    delete from {deleted} where identifier in (
        select identifier from again
         union all
        select d.identifier from again
          join {deleted} d on d.provider = again.provider and md5(d.foreign_identifier) = again.key
    ) returning {deleted}.*
)
insert into deleted_before (media_type, url, provider, foreign_identifier, deleted_on, deleted_reason, record)
select {media}, url, provider, foreign_identifier, deleted_on, deleted_reason, to_jsonb(gone)
  from gone where url is not null and not exists (select from again where again.url = gone.url)
