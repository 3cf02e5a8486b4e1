-- What the update has left of the changed rows: those that were deleted meanwhile, those that are as they were, because a
-- trigger or a rule has suppressed their change or returned the old row, and those of which a trigger has kept old values.
select count(*) filter (where old.identifier is null),
       count(*) filter (where old.updated_on < now() and ({changes})),
       count(*) filter (where old.updated_on >= now() and ({changes}))
  from verdict join {loading} new on new.ctid = verdict.tid
  left join {table} old on old.identifier = verdict.identifier
  left join link_removal removal on {file_gone}
 where verdict.outcome = 'changed'
