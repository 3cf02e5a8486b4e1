-- Of the rows with the same identifier, the one that came last is kept.
insert into load_reject (n, reason)
select l.n, 'duplicate identifier in the batch'
  from {loading} l
  join (
    select provider, foreign_identifier, max(n) as last
      from {loading} where not ({unusable}) group by 1, 2 having count(*) > 1
  ) doubled using (provider, foreign_identifier)
 where l.n <> doubled.last and not ({unusable})
