-- Moves a batch of duplicates. Other records with the URL of one that stays are moved to the table of deleted
-- media; copies, and records that this table does not accept, to the table of duplicates.
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
),
deleted as (
    insert into {deleted} ({bare_columns}, deleted_on, deleted_reason)
    select {bare_columns}, now(), {reason} from moved where deletes
        on conflict do nothing
 returning identifier
)
insert into {duplicates} ({bare_columns}, duplicate_of)
select {bare_columns}, duplicate_of
  from moved
 where not (deletes and exists (select from deleted where deleted.identifier = moved.identifier))
