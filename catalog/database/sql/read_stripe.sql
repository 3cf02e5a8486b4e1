-- Read the rows of a stripe that are still where they were selected.
select {table}.identifier, {table}.ctid::text, {read}
  from {rows} join {table} on {table}.ctid = {rows}.tid and {table}.identifier = {rows}.row_identifier
 where {these}
