-- A URL has one record. A row is refused when an earlier row brings the same URL, or when the record that holds it keeps
-- it. A holder that gets another URL in this load makes way, unless it is refused itself: so records may exchange URLs.
-- The URLs of those that make way are free at once; until the update, the records have one that nobody else can have.
with recursive bringing as materialized (
    select n, identifier, holder, row_number() over (partition by url order by n) as place
      from verdict where brings_url and outcome in ('new', 'changed')
), refused (n, identifier) as (
    select b.n, b.identifier
      from bringing b left join bringing leaving on leaving.identifier = b.holder
     where b.place > 1 or (b.holder is not null and leaving.identifier is null)
     union
    select b.n, b.identifier from refused r join bringing b on b.holder = r.identifier
), marked as (
    update verdict set outcome = 'url taken' from refused where verdict.n = refused.n
)
update {table} holder set url = 'makes way ' || holder.identifier
  from bringing b left join refused r on r.n = b.n
 where b.holder = holder.identifier and r.n is null
