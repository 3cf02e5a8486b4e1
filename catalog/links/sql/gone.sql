-- Records of a survey that have been gone long enough, by all of their checks. Times to come do not count.
select m.identifier, m.url, evidence.first, evidence.last, evidence.checks
  from (select distinct identifier, url from link_check
         where {of_survey} and outcome = 'gone' and judged) c
  join {table} m on m.identifier = c.identifier and m.url = c.url and not m.removed_from_source
 cross join lateral (
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
 ) evidence
 where evidence.last - evidence.first >= %(period)s
   and exists (select from unnest(evidence.moments) moment
                where moment between evidence.first + %(apart)s and evidence.last - %(apart)s)
 order by m.identifier
