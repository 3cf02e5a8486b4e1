-- The number of identifiers that different records share: neither their keys nor their URLs are the same.
select count(*)
  from (
        select from {table}
         where identifier is not null
         group by identifier
        having count(distinct (provider, md5(foreign_identifier))) > 1 and count(distinct url) > 1
  ) as found
