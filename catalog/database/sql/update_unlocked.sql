-- Update the rows of a stripe that nobody has locked.
with {free} as (
    select {table}.identifier as free_identifier
      from {table} join {rows} on {table}.identifier = {rows}.row_identifier
     where {these} for no key update of {table} skip locked
)
update {table} set {set} from {free} where {table}.identifier = free_identifier
