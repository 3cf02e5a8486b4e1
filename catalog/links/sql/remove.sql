-- The record may have changed, and its file may have answered, since it was found. While a removal is open, somebody
-- else has taken the mark away.
with due as materialized (
    select c.identifier, c.url, evidence.first, evidence.last, evidence.checks
      from (values (%(identifier)s::uuid, %(url)s::text)) c (identifier, url)
     cross join lateral ({evidence}) evidence
     where not exists (select from link_removal r
                        where r.media_type = %(media)s and r.identifier = c.identifier and r.ended_on is null)
), marked as (
    update {table} m set removed_from_source = true, updated_on = now()
      from due
     where m.identifier = due.identifier and m.url = due.url
       and m.provider = %(provider)s and not m.removed_from_source
    returning m.identifier, m.url, m.removed_from_source, due.first, due.last, due.checks
)
insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on,
                          checked_on, checks, run_id, removed_on)
select %(media)s, %(provider)s, identifier, url, first, last, last, checks, %(run_id)s, %(now)s
  from marked where removed_from_source -- a trigger may have taken the mark away
