-- The rejects to list, in the order of the lines; when there is no room for all, some of each reason.
select r.reason, to_jsonb(new) - 'n' as record,
       case when holder.identifier is not null then jsonb_build_object(
           'identifier', holder.identifier, 'provider', holder.provider, 'foreign_identifier', holder.foreign_identifier
       ) end as belongs_to
  from (
    select n, reason, row_number() over (partition by reason order by n) as place
      from load_reject order by place, n limit {room}
  ) r
  join {loading} new on new.n = r.n
  left join {table} holder on holder.url = new.url and r.reason = {url_taken}
 order by r.n
