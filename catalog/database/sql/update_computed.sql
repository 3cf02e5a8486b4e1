-- Write computed values to the rows that nobody has locked, and nobody has changed since they were read: a
-- changed row has another place on disk. Returns the rows that are written, and not those of which a trigger
-- has kept an old value.
with fresh as materialized (
    select * from jsonb_to_recordset({values}::jsonb) as fresh (new_identifier uuid, new_place tid, {typed})
), free as materialized (
    select fresh.*, {olds}
      from fresh
      join {table} on {table}.identifier = new_identifier and {table}.ctid = new_place
       for update of {table} skip locked
), written as (
    update {table} set updated_on = now(), {set}
      from free
     where {table}.identifier = new_identifier
    returning new_identifier, {kept} as kept
)
select new_identifier from written where not kept
