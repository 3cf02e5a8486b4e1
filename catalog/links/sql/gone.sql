-- Records of a provider that have been gone long enough, by all of their checks, among those that some checks have
-- found to be gone.
select m.identifier, m.url
  from ({found}) c
  join {table} m on m.identifier = c.identifier and m.url = c.url
   and m.provider = %(provider)s and not m.removed_from_source
 cross join lateral ({evidence}) evidence
 order by m.identifier
