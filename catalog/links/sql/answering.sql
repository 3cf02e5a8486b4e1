-- Removed records with another URL, and those that answer, if that is newer than the removal.
select r.number, %(moved)s as why, m.identifier
  from link_removal r
  join {table} m on m.identifier = r.identifier and m.url <> r.url and m.removed_from_source
 where r.number = any(%(looked_at)s) and r.ended_on is null and m.provider = %(provider)s
 union all
select r.number, %(answers)s, m.identifier
  from link_removal r
  join {table} m on m.identifier = r.identifier and m.url = r.url and m.removed_from_source
 cross join lateral (
    select checked_on, outcome, redirect from link_check a
     where a.media_type = r.media_type and a.identifier = r.identifier and a.url = r.url
       and a.judged and a.outcome in ('there', 'gone')
     order by checked_on desc limit 1
 ) newest
 where r.number = any(%(looked_at)s) and m.provider = %(provider)s
   and newest.outcome = 'there' and newest.checked_on > r.removed_on
   and (newest.redirect is null or exists (
       select from link_check a
        where a.media_type = r.media_type and a.identifier = r.identifier and a.url = r.url
          and a.judged and a.outcome = 'there' and a.checked_on > r.removed_on
          and a.checked_on < newest.checked_on - interval '12 hours'))
 order by identifier
