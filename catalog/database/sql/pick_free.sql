-- Lock the free rows of `source`.
select {table}.identifier from {table} join {source} source on {table}.identifier = source.id
   for update of {table} skip locked
