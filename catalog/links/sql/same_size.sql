-- Files become unclear that have one size with others of their host, although none of them had this size: a
-- host may answer everything, or all that is missing, with one placeholder. Of many files that were stored
-- with another size, some have one size by chance, so the least number grows with those of the host.
with sizes as (
    select host, size, count(distinct url) filter (where size <> known_size) as others,
           coalesce(bool_or(size = known_size), false) as known,
           sum(count(*)) over (partition by host) as files
      from link_check
     where {of_survey} and outcome = 'there' and size is not null
     group by host, size
), placeholders as materialized (
    select host, size from sizes
     where others >= greatest(%(least)s, %(share)s * files) and not known
)
update link_check c set outcome = 'unclear', reason = %(reason)s
 where {of_survey} and outcome = 'there' and not judged
   and (host, size) in (select host, size from placeholders)
