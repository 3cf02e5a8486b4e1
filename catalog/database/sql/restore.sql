-- Move the free rows of `source` back, unless their key or URL is taken.
with picked as (
    select d.identifier as picked_identifier from {deleted} d join {source} source on d.identifier = source.id
     where {free} for update of d skip locked
), back as (
    insert into {table} ({columns}) overriding system value
    select {values} from {deleted} join picked on {deleted}.identifier = picked_identifier
    on conflict do nothing returning identifier
), gone as (
    delete from {deleted} using back where {deleted}.identifier = back.identifier returning 1
)
select count(*) from gone
