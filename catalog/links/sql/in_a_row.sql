-- Gone files become unclear of which so many follow each other that the host has said so to everything for a
-- while: the order of its checks is random. If a share p of n files is gone, ((n - k)(1 - p) + 1) p^k runs of
-- at least k of them are expected.
with asked as materialized (
    select number, host, outcome,
           row_number() over (partition by host order by checked_on, number)
           - row_number() over (partition by host, outcome order by checked_on, number) as streak
      from link_check
     where {of_survey} and outcome in ('there', 'gone') and purpose <> 'control'
), hosts as (
    select host, count(*) as links, avg((outcome = 'gone')::integer)::float8 as share from asked group by host
), streaks as (
    select host, streak, count(*) as length from asked where outcome = 'gone' group by host, streak
)
update link_check c set outcome = 'unclear', reason = %(reason)s
  from asked join hosts using (host) join streaks using (host, streak)
 where c.number = asked.number and c.outcome = 'gone' and not c.judged and asked.outcome = 'gone'
   and ln((links - length) * (1 - share) + 1) + length * ln(share) < ln(%(chance)s)
