-- Write computed values to the rows that nobody has locked, and nobody has changed since they were read: a changed row has
-- another place on disk.
with fresh as materialized (
    select * from jsonb_to_recordset({values}::jsonb) as fresh (new_identifier uuid, new_place tid, {typed})
), free as materialized (
    select fresh.* from fresh join {table} on {table}.identifier = new_identifier and {table}.ctid = new_place
       for update of {table} skip locked
)
update {table} set updated_on = now(), {set} from free where {table}.identifier = new_identifier
returning new_identifier
