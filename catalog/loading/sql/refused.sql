-- The rows that would violate a constraint as they would be written.
update {loading} l set rejected = {reason}
  from (select provider, foreign_identifier from would_be where not ({condition})) bad
 where l.provider = bad.provider and md5(l.foreign_identifier) = md5(bad.foreign_identifier) and l.rejected is null
