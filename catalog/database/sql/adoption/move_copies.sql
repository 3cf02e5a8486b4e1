-- Moves a batch of duplicates to the table of duplicates.
with batch as (
    select tid, identifier as known, kept, deletes
      from pg_temp.duplicates
     where n >= {first} and n < {last}
),
moved as (
    delete from {table} t
     using batch b
     where t.ctid = b.tid and t.identifier is not distinct from b.known
 returning {columns}, b.kept as duplicate_of, b.deletes
)
insert into {duplicates} ({bare_columns}, duplicate_of)
select {bare_columns}, duplicate_of from moved
