-- Update the postponed rows that are free now, and remove them from the list.
with {free} as (
    select {table}.identifier as free_identifier
      from {table} join {left} on identifier = left_identifier for no key update of {table} skip locked
), {changed} as (
    update {table} set {set} from {free} where {table}.identifier = free_identifier returning free_identifier
)
delete from {left} using {changed} where left_identifier = free_identifier
