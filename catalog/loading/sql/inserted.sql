-- How many of the new rows are there: a trigger may have put them into a partition of the table, which no count of
-- inserted rows tells.
select count(*)
  from verdict join {loading} new on new.ctid = verdict.tid
  join {table} there on there.provider = new.provider and md5(there.foreign_identifier) = md5(new.foreign_identifier)
 where verdict.outcome = 'new'
