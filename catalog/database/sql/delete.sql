-- Move the free rows of `source` to the deleted ones. One statement, so that exactly what is deleted is kept.
with picked as (
    select {table}.identifier as picked_identifier
      from {table} join {source} source on {table}.identifier = source.id
       for update of {table} skip locked
), gone as (
    delete from {table} using picked where {table}.identifier = picked_identifier returning {table}.*
), kept as (
    insert into {deleted} ({columns}, deleted_on, deleted_reason)
    select {columns}, now(), {reason} from gone on conflict do nothing
)
select count(*) from gone
