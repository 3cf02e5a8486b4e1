select distinct identifier, url from link_check
 where provider = %(provider)s and media_type = %(media)s and outcome = 'gone' and judged
   and checked_on > %(since)s and checked_on <= %(now)s
   and {among}
