-- Read the rows of a stripe that have moved since they were selected.
select {table}.identifier, {table}.ctid::text, {read}
  from {rows} join {table} on {table}.identifier = {rows}.row_identifier and {table}.ctid <> {rows}.tid
 where {these}
