-- Gone files become unclear where too few other records of their host, or of their provider, answer. The
-- controls of a record are other ones of its group that were not chosen because they were gone.
with asked as materialized (
    select {group}, count(*) as number, count(*) filter (where outcome = 'there') as there
      from link_check
     where {of_survey} and purpose <> 'again'
       and not coalesce(reason = any(%(not_asked)s), false)
     group by {group}
)
update link_check c set outcome = 'unclear', reason = %(reason)s
 where {of_survey} and outcome = 'gone' and not judged
   and not exists (
       select from asked a
        where a.{group} = c.{group}
          and a.number - (c.purpose <> 'again')::integer >= %(least)s
          and a.number - (c.purpose <> 'again')::integer - a.there
              <= %(failing)s * (a.number - (c.purpose <> 'again')::integer)
   )
