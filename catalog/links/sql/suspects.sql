-- Records that were gone and have not answered since, those that wait longest first. Times to come do not
-- count.
select identifier, url, filesize
  from (
    select distinct on (c.identifier) c.identifier, m.url, m.filesize,
           (select max(checked_on) from link_check any_outcome
             where any_outcome.media_type = c.media_type and any_outcome.identifier = c.identifier
               and any_outcome.checked_on <= %(now)s
           ) as checked_on
      from link_check c join {table} m on m.identifier = c.identifier and m.url = c.url
       and m.provider = c.provider
     where c.provider = %(provider)s and c.media_type = %(media)s and c.outcome = 'gone' and c.judged
       and c.checked_on > %(since)s and c.checked_on <= %(now)s and not m.removed_from_source
       and not exists (
           select from link_check later
            where later.media_type = c.media_type and later.identifier = c.identifier
              and later.url = c.url and later.outcome = 'there' and later.checked_on > c.checked_on
              and later.checked_on <= %(now)s)
     order by c.identifier, c.checked_on desc
  ) gone
 order by checked_on limit %(most)s
