-- Select the rows, in their order on disk.
create table {rows} as
select row_number() over (order by tid) as row_id, tid, row_identifier
  from (
    select {table}.ctid as tid, {table}.identifier as row_identifier from {from} where {where}
  ) selected
