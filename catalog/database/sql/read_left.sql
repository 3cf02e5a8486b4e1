-- Read the postponed rows.
select {table}.identifier, {table}.ctid::text, {read}
  from {left} join {table} on {table}.identifier = left_identifier
