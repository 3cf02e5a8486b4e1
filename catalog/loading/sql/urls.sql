-- What becomes of the rows that bring a URL. As for identifiers, stored and deleted rows are looked up in one statement.
-- A deleted record stays deleted when it comes back under another identifier, also with a URL of an earlier deletion, and
-- with http in place of https, or the other way round.
-- A URL has one record. A row is refused when an earlier row brings the same URL, or when the record that holds it keeps
-- it. A holder that gets another URL in this load makes way, unless it is refused itself: so records may exchange URLs.
-- The URLs of those that make way are free at once; until the update, the records have one that nobody else can have. It
-- begins like the old one, to satisfy constraints on the form of addresses.
-- Returns how many make way, and those that should and do not: a trigger may have suppressed that.
-- The schemes are compared in other forms than `same_file` has, because only these use the indexes on md5(url).
with recursive looked_up as (
    select v.n, v.identifier, v.url, holder.identifier as holder,
           not {include_deleted} and not v.its_own
               and (exists (select from {deleted_table} other where md5(other.url) = md5(v.url))
                    or case when v.url like 'http:%'
                       then exists (select from {deleted_table} other where md5(other.url) = md5('https' || substr(v.url, 5)))
                       else exists (select from {deleted_table} other
                                     where other.url like 'http:%' and md5('https' || substr(other.url, 5)) = md5(v.url))
                       end
                    or (exists (select from deleted_before where media_type = {media}) -- asked once
                        and (exists (select from deleted_before other
                                      where md5(other.url) = md5('https' || substr(v.url, strpos(v.url, ':'))))
                             or exists (select from deleted_before other
                                         where md5(other.url) = md5('http' || substr(v.url, strpos(v.url, ':')))))
                        and exists (select from deleted_before other join {loading} new on new.ctid = v.tid,
                                           unnest(array['http', 'https']) scheme
                                     where md5(other.url) = md5(scheme || substr(v.url, strpos(v.url, ':')))
                                       and other.media_type = {media}
                                       and (other.provider, other.foreign_identifier)
                                           is distinct from (new.provider, new.foreign_identifier)))) as deleted
      from verdict v left join {table} holder on holder.url = v.url
     where v.brings_url and v.outcome in ('new', 'changed')
), bringing as materialized (
    select n, identifier, holder, deleted, row_number() over (partition by url, deleted order by n) as place
      from looked_up
), refused (n, identifier) as (
    select b.n, b.identifier
      from bringing b left join bringing leaving
        on leaving.identifier = b.holder and not leaving.deleted and leaving.identifier <> all ({staying}::uuid[])
     where not b.deleted and (b.place > 1 or (b.holder is not null and leaving.identifier is null))
     union
    select b.n, b.identifier from refused r join bringing b on b.holder = r.identifier where not b.deleted
), marked as (
    update verdict set outcome = case when b.deleted then 'deleted' else 'url taken' end
      from bringing b left join refused r on r.n = b.n
     where verdict.n = b.n and (b.deleted or r.n is not null)
), making_way as materialized (
    select b.holder from bringing b left join refused r on r.n = b.n
     where b.holder is not null and not b.deleted and r.n is null
), moved as (
    update {table} old set url = left(old.url, 200) || '#makes-way-' || old.identifier from making_way where old.identifier = making_way.holder
    returning old.identifier, old.url
)
select count(*), array_agg(holder) filter (where (moved.url like '%#makes-way-' || holder) is not true)
  from making_way left join moved on moved.identifier = holder
