-- Store the rows of a stripe that this transaction has not updated, for a later pass.
insert into {left}
select row_identifier from {rows} join {table} on {table}.identifier = row_identifier
 where {these} and {table}.xmin <> pg_current_xact_id()::xid on conflict do nothing
