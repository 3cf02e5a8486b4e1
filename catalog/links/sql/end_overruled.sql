-- Removals end whose record is deleted, or was given its mark or another URL by others.
update link_removal r
   set ended_on = %(now)s, ended_by = %(run_id)s,
       ended_because = case when m.identifier is null then 'the record is deleted'
                            when m.url <> r.url then 'the record has another URL'
                            else 'the mark was removed' end
  from link_removal o left join {table} m on m.identifier = o.identifier
 where r.number = any(%(looked_at)s) and o.number = any(%(looked_at)s) and o.number = r.number
   and r.ended_on is null
   and (m.identifier is null or not m.removed_from_source)
