select t.ctid as tid,
       t.identifier,
       t.{newest} as moment,
       {places},
       coalesce({record}, t.ctid::text) as record
  from {table} t
  join {groups} g on ({keys}) = ({qualified})
