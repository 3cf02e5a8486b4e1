-- The records that have a URL which another one brings.
select holder.identifier from verdict v join {table} holder on holder.url = v.url
 where v.brings_url and v.outcome in ('new', 'changed')
