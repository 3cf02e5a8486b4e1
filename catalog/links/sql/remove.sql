with marked as (
    update {table} set removed_from_source = true, updated_on = now()
     where identifier = %(identifier)s and url = %(url)s and not removed_from_source
    returning identifier, url, removed_from_source
)
insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on,
                          checked_on, checks, run_id, removed_on)
select %(media)s, %(provider)s, identifier, url, %(first)s, %(last)s, %(last)s, %(checks)s,
       %(run_id)s, %(now)s
  from marked where removed_from_source -- a trigger may have taken the mark away
