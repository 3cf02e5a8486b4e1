-- Removed records with another URL, and those that have answered for long enough.
select r.number, %(moved)s as why, m.identifier
  from link_removal r
  join {table} m on m.identifier = r.identifier and m.url <> r.url and m.removed_from_source
 where r.number = any(%(looked_at)s) and r.ended_on is null and m.provider = %(provider)s
 union all
select r.number, %(answers)s, m.identifier
  from link_removal r
  join {table} m on m.identifier = r.identifier and m.url = r.url and m.removed_from_source
 cross join lateral ({evidence}) answers
 where r.number = any(%(looked_at)s) and r.ended_on is null and m.provider = %(provider)s
 order by identifier
