-- One narrow row for each row to load. Stored and deleted rows are looked up in one statement, so that a record on its
-- way between the two tables is seen in one of them. A deleted record is known by its identifier, and by its URL.
create temp table verdict on commit drop as
select new.ctid as tid, new.n, old.identifier, new.url,
       case when old.identifier is null and gone.identifier is not null then 'deleted'
            when old.url is distinct from new.url and gone.url is distinct from new.url and not {include_deleted}
                 and exists (select from {deleted} other where md5(other.url) = md5(new.url)) then 'deleted'
            when old.identifier is null then 'new'
            when old.removed_from_source or {differs} then 'changed'
            else 'unchanged' end as outcome,
       old.url is distinct from new.url as brings_url,
       case when old.url is distinct from new.url then
           (select holder.identifier from {table} holder where holder.url = new.url)
       end as holder -- of the URL it brings
  from {loading} new
  left join {table} old
    on old.provider = new.provider and md5(old.foreign_identifier) = md5(new.foreign_identifier)
  left join {deleted} gone
    on gone.provider = new.provider and md5(gone.foreign_identifier) = md5(new.foreign_identifier)
   and not {include_deleted}
 where new.rejected is null
