-- The checks by which the file of the record `c` has been gone long enough: not overruled by an answer, or by the end
-- of a removal. No row if they are too few, or too close to each other. Times to come do not count.
select gone.first, gone.last, gone.checks
  from (
    select greatest(
        (select max(checked_on) from link_check a
          where a.media_type = %(media)s and a.identifier = c.identifier and a.url = c.url
            and a.outcome = 'there' and a.checked_on <= %(now)s),
        (select max(ended_on) from link_removal r
          where r.media_type = %(media)s and r.identifier = c.identifier and r.ended_on <= %(now)s)
    ) as since
 ) overruled
 cross join lateral (
    select min(checked_on) as first, max(checked_on) as last, count(*) as checks,
           array_agg(checked_on) as moments
      from link_check a
     where a.media_type = %(media)s and a.identifier = c.identifier and a.url = c.url
       and a.outcome = 'gone' and a.judged
       and checked_on > coalesce(overruled.since, '-infinity') and checked_on <= %(now)s
 ) gone
 where gone.last - gone.first >= %(period)s
   and exists (select from unnest(gone.moments) moment
                where moment between gone.first + %(apart)s and gone.last - %(apart)s)
