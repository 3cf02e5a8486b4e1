-- Records of a survey that have been gone long enough, by all of their checks.
select m.identifier, m.url, evidence.first, evidence.last, evidence.checks
  from (select distinct identifier, url from link_check
         where {of_survey} and outcome = 'gone' and judged) c
  join {table} m on m.identifier = c.identifier and m.url = c.url and not m.removed_from_source
 cross join lateral (
    select greatest(
        (select max(checked_on) from link_check a
          where a.media_type = %(media)s and a.identifier = c.identifier and a.url = c.url
            and a.outcome = 'there'),
        (select max(ended_on) from link_removal r
          where r.media_type = %(media)s and r.identifier = c.identifier)
    ) as since
 ) overruled
 cross join lateral (
    select min(checked_on) as first, max(checked_on) as last, count(*) as checks,
           count(distinct (checked_on at time zone 'UTC')::date) as days
      from link_check a
     where a.media_type = %(media)s and a.identifier = c.identifier and a.url = c.url
       and a.outcome = 'gone' and a.judged
       and checked_on > coalesce(overruled.since, '-infinity')
 ) evidence
 where evidence.days >= %(least)s and evidence.last - evidence.first >= %(period)s
 order by m.identifier
