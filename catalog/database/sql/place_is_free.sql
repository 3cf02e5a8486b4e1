not exists (select from {table} taken where taken.url = d.url or taken.identifier = d.identifier
               or (taken.provider = d.provider and md5(taken.foreign_identifier) = md5(d.foreign_identifier)))
