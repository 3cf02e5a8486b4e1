-- Files become unclear that have one size with others of their host, although none of them had this size: a
-- host may answer everything, or all that is missing, with one placeholder.
with placeholders as materialized (
    select host, size from link_check
     where {of_survey} and outcome = 'there' and size is not null
     group by host, size
    having count(distinct url) filter (where size <> known_size) >= %(least)s
       and not coalesce(bool_or(size = known_size), false)
)
update link_check c set outcome = 'unclear', reason = %(reason)s
 where {of_survey} and outcome = 'there' and not judged
   and (host, size) in (select host, size from placeholders)
