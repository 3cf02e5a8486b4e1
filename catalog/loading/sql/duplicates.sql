-- Of the rows with the same identifier, the one that came last is kept.
update {loading} l set rejected = 'duplicate identifier in the batch'
  from (
    select provider, foreign_identifier, max(n) as last
      from {loading} where rejected is null group by 1, 2 having count(*) > 1
  ) doubled
 where (l.provider, l.foreign_identifier) = (doubled.provider, doubled.foreign_identifier)
   and l.n <> doubled.last and l.rejected is null
