-- The expression of a check constraint, unless a trigger before each row may change the columns that it is about.
select pg_get_expr(conbin, conrelid)
  from pg_constraint
 where conname = %s and conrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) and contype = 'c'
   and not exists (
       select from pg_trigger join pg_proc on pg_proc.oid = tgfoid
              join pg_attribute on attrelid = conrelid and attnum = any(conkey)
        where tgrelid = conrelid and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 3 = 3
          and prosrc ~* ('\mnew\."?' || attname || '\M'))
