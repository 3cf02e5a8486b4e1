-- Enabled triggers that run before an update or a deletion of a row, and rules: both can suppress the change.
select 'trigger ' || tgname as name
  from pg_trigger
 where tgrelid = %(table)s::regclass and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 3 = 3 and tgtype & 24 <> 0
union all
select 'rule ' || rulename
  from pg_rewrite
 where ev_class = %(table)s::regclass and ev_type in ('2', '4') and ev_enabled in ('O', 'A')
 order by 1
