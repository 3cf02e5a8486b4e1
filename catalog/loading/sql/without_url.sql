-- Records that made way and did not get their new URL, because a trigger or a rule has suppressed that.
select identifier from verdict join {table} old using (identifier)
 where verdict.outcome = 'changed' and old.url like '%#makes-way-' || identifier and identifier <> all ({staying}::uuid[])
