-- Enabled triggers that run before a change of a row, and rules: both can suppress the change, or alter it.
-- So can a trigger after an update whose function updates the table again; one that does so in dynamic SQL is
-- not found.
with change (bit, event) as (
    select bit, event
      from (values ('insert', 4, '3'), ('delete', 8, '4'), ('update', 16, '2')) as known (name, bit, event)
     where name = %(change)s
)
select 'trigger ' || tgname as name
  from pg_trigger, change
 where tgrelid = %(table)s::regclass
   and not tgisinternal
   and tgenabled in ('O', 'A')
   and tgtype & 3 = 3
   and tgtype & bit <> 0
 union all
select 'trigger ' || tgname
  from pg_trigger
  join pg_proc on pg_proc.oid = tgfoid
  join pg_class on pg_class.oid = tgrelid,
       change
 where tgrelid = %(table)s::regclass
   and not tgisinternal
   and tgenabled in ('O', 'A')
   and tgtype & 66 = 0
   and tgtype & bit <> 0
   and bit = 16
   and prosrc ~* ('\mupdate\s+(only\s+)?("?\w+"?\.)?"?' || relname || '\M')
 union all
select 'rule ' || rulename
  from pg_rewrite, change
 where ev_class = %(table)s::regclass
   and ev_type::text = event
   and ev_enabled in ('O', 'A')
 order by 1
