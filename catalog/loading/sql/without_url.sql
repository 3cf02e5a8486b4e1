-- Records that made way and did not get their new URL, because a trigger or a rule has suppressed that, or the
-- table refuses the row.
select identifier from verdict join {table} old using (identifier)
 where verdict.outcome in ('changed', 'refused') and old.url like '%#makes-way-' || identifier and identifier <> all ({staying}::uuid[])
