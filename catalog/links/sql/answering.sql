-- Removed records with another URL, and those that have answered for long enough since the removal and since
-- they were last gone. Times to come do not count.
select r.number, %(moved)s as why, m.identifier
  from link_removal r
  join {table} m on m.identifier = r.identifier and m.url <> r.url and m.removed_from_source
 where r.number = any(%(looked_at)s) and r.ended_on is null and m.provider = %(provider)s
 union all
select r.number, %(answers)s, m.identifier
  from link_removal r
  join {table} m on m.identifier = r.identifier and m.url = r.url and m.removed_from_source
 cross join lateral (
    select coalesce(max(checked_on), '-infinity') as last from link_check a
     where a.media_type = r.media_type and a.identifier = r.identifier and a.url = r.url
       and a.outcome = 'gone' and a.judged and a.checked_on <= %(now)s
 ) gone
 cross join lateral (
    select min(checked_on) as first, max(checked_on) as last from link_check a
     where a.media_type = r.media_type and a.identifier = r.identifier and a.url = r.url
       and a.outcome = 'there' and a.judged and a.checked_on <= %(now)s
       and a.checked_on > gone.last and (a.checked_on > r.removed_on or r.removed_on > %(now)s)
 ) answers
 where r.number = any(%(looked_at)s) and m.provider = %(provider)s
   and answers.last - answers.first >= %(apart)s
 order by identifier
