-- The record may have changed, and its file may be gone again, since it was found.
with back as (
    update {table} m set removed_from_source = false, updated_on = now()
      from link_removal r
     where r.number = %(number)s and r.ended_on is null
       and m.identifier = r.identifier and m.removed_from_source and m.provider = %(provider)s
       and case when %(why)s = %(moved)s then m.url <> r.url
                else m.url = r.url and exists ({evidence}) end
    returning m.identifier, m.removed_from_source as still
)
update link_removal r set ended_on = %(now)s, ended_by = %(run_id)s, ended_because = %(why)s
  from back where r.number = %(number)s and r.ended_on is null and not back.still
