-- Numbers the rows to move, each with the row that stays in its place. `deletes` is true for another record with
-- the URL of one that stays. Of several records with one identifier or key, only one can be a deleted one.
create temporary table duplicates as
select row_number() over (order by age) as n,
       tid,
       identifier,
       kept,
       by_url
         and row_number() over (partition by by_url, identifier order by age) = 1
         and row_number() over (partition by by_url, record order by age) = 1 as deletes
  from (
        select c.tid,
               c.identifier,
               c.record,
               c.age,
               coalesce({kept}) as kept,
               {is_media} and {no_copy} as by_url
          from pg_temp.candidates c {joins}
         where not c.stays
  ) moved
