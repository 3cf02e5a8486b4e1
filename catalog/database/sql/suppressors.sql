-- Enabled triggers that run before a change of a row, and rules: both can suppress the change, or alter it.
with change (bit, event) as (
    select bit, event from (values ('insert', 4, '3'), ('delete', 8, '4'), ('update', 16, '2')) as known (name, bit, event)
     where name = %(change)s
)
select 'trigger ' || tgname as name
  from pg_trigger, change
 where tgrelid = %(table)s::regclass and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 3 = 3 and tgtype & bit <> 0
union all
select 'rule ' || rulename
  from pg_rewrite, change
 where ev_class = %(table)s::regclass and ev_type::text = event and ev_enabled in ('O', 'A')
 order by 1
