-- Move the free rows of `source` back, unless their key or URL is taken. Returns their number, and those that
-- are back and still among the deleted ones, too: a trigger may have suppressed that deletion. What is kept
-- of earlier deletions of these records is removed, so that other records may have these URLs again; returns
-- how many there were.
with picked as (
    select d.identifier as picked_identifier
      from {deleted} d
      join {source} source on d.identifier = source.id
     where {free}
       for update of d skip locked
), back as (
    insert into {table} ({columns}) overriding system value
    select {values}
      from {deleted}
      join picked on {deleted}.identifier = picked_identifier
    on conflict do nothing
    returning identifier, provider, foreign_identifier, removed_from_source
), gone as (
    delete from {deleted} using back
     where {deleted}.identifier = back.identifier
    returning {deleted}.identifier
), reopened as (
    -- The mark of a record comes back with it, so the removal that has given it goes on: without one, no check
    -- would look for the file again.
    update link_removal r set ended_on = null, ended_because = null, ended_by = null
      from back
     where back.removed_from_source and r.media_type = {media} and r.identifier = back.identifier
       and r.ended_because = 'the record is deleted'
       and not exists (
           select from link_removal newer
            where newer.media_type = r.media_type and newer.identifier = r.identifier
              and (newer.removed_on, newer.number) > (r.removed_on, r.number))
), before as (
    delete from deleted_before using back
     where media_type = {media} and (deleted_before.provider, deleted_before.foreign_identifier)
         = (back.provider, back.foreign_identifier)
    returning deleted_before.url
)
select count(*),
       array(select identifier from back except select identifier from gone),
       (select count(*) from before)
  from back
