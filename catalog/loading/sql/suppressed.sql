-- Rows that the update has left as they were, although they are there: a trigger or a rule has suppressed their change.
select from verdict join {table} old on old.identifier = verdict.identifier
 where verdict.outcome = 'changed' and old.updated_on < now()
