-- Gone files become unclear if more of them follow each other than chance explains: the order of checks is
-- random, so the host has said so to everything for a while. If a share p of n files is gone,
-- ((n - k)(1 - p) + 1) p^k runs of at least k of them are expected.
with asked as (
    select number, host, outcome, judged,
           row_number() over (partition by host order by checked_on, number)
           - row_number() over (partition by host, outcome order by checked_on, number) as streak
      from link_check
     where {of_survey} and outcome in ('there', 'gone') and purpose <> 'control'
), counted as (
    select number, outcome, judged, count(*) over (partition by host) as n,
           avg((outcome = 'gone')::integer) over (partition by host)::float8 as p,
           count(*) over (partition by host, outcome, streak) as k
      from asked
), improbable as materialized (
    select number from counted
     where case when outcome = 'gone' and not judged
                then ln((n - k) * (1 - p) + 1) + k * ln(p) < ln(%(chance)s) end
)
update link_check c set outcome = 'unclear', reason = %(reason)s
  from improbable where c.number = improbable.number
