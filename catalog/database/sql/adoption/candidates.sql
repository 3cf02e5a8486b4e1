-- Rows that share a key with another row, newest first; `stays` is still undecided.
create temporary table candidates as
select *,
       row_number() over (order by moment desc nulls last, tid desc) as age,
       null::boolean as stays
  from ({rows}) r
