-- Move the free rows of `source` to the deleted ones, in one statement. Returns their number, and those that
-- are deleted and not kept: a trigger may have suppressed that.
with picked as (
    select {table}.identifier as picked_identifier
      from {table}
      join {source} source on {table}.identifier = source.id
       for update of {table} skip locked
), gone as (
    delete from {table} using picked where {table}.identifier = picked_identifier returning {table}.*
), kept as (
    insert into {deleted} ({columns}, deleted_on, deleted_reason)
    select {columns}, now(), {reason} from gone returning identifier
)
select count(*), array(select identifier from gone except select identifier from kept)
  from gone
