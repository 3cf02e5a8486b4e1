-- The rejects to list, in the order of the lines; when there is no room for all, some of each reason.
select r.reason, to_jsonb(new) - 'n' - 'rejected' as record,
       case when holder.identifier is not null then jsonb_build_object(
           'identifier', holder.identifier, 'provider', holder.provider, 'foreign_identifier', holder.foreign_identifier
       ) end as belongs_to
  from (
    select tid, n, reason, row_number() over (partition by reason order by n) as place
      from (
        select ctid as tid, n, rejected as reason from {loading} where rejected is not null
         union all
        select tid, n, {url_taken} from verdict where outcome = 'url taken'
      ) rejected
     order by place, n limit {room}
  ) r
  join {loading} new on new.ctid = r.tid
  left join {table} holder on holder.url = new.url and r.reason = {url_taken}
 order by r.n
