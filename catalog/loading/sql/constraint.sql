-- What each row of a media table, or of one of its partitions, has to meet: a check constraint, or a column that is not null.
-- Nothing for other tables, and if a trigger before each row may change the columns that it is about.
with violated (relation, columns, expression) as (
    select conrelid, conkey, pg_get_expr(conbin, conrelid) from pg_constraint
     where conname = %(constraint)s and contype = 'c' and conrelid = to_regclass(%(relation)s)
     union all
    select attrelid, array[attnum], format('%%I is not null', attname) from pg_attribute
     where attname = %(column)s and attrelid = to_regclass(%(relation)s)
)
select expression from violated
 where (relation = to_regclass(%(media)s) or relation in (select relid from pg_partition_tree(to_regclass(%(media)s))))
   and not exists (
       select from pg_trigger join pg_proc on pg_proc.oid = tgfoid
              join pg_attribute on attrelid = relation and attnum = any(columns)
        where tgrelid = relation and not tgisinternal and tgenabled in ('O', 'A') and tgtype & 3 = 3
          and prosrc ~* ('\mnew(\."?' || attname || '\M|\s*:=)|\minto\s+new\M'))
