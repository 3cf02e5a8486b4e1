-- The answers of the file of the removed record `r`, since the removal and since it was last gone, if they are far
-- enough from each other to bring it back. Times to come do not count.
select answers.first, answers.last
  from (
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
 where answers.last - answers.first >= %(apart)s
