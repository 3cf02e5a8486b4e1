-- One narrow row for each row to load. Stored and deleted rows are looked up in one statement, so that a record on its
-- way between the two tables is seen in one of them. A mark as removed from the source is a change, because the source
-- sends the record, unless checks of links have found that its file is gone. What a later pull has brought is newer, as
-- when an old run is cleared, and stays. A row brings its own file if the record has it now, or was deleted with it and
-- brought back since, with http or https.
create temp table verdict on commit drop as
select new.ctid as tid, new.n, old.identifier, new.url,
       case when old.identifier is null and gone.identifier is not null then 'deleted'
            when old.identifier is null then 'new'
            when {changes} then
                case when {superseded} then 'superseded' else 'changed' end
            else 'unchanged' end as outcome,
       {another_url} as brings_url,
       coalesce({same_file_as_deleted}, false)
           or coalesce(old.url <> new.url
                       and {same_file_as_stored}, false) as its_own
  from {loading} new
  left join {table} old
    on old.provider = new.provider and md5(old.foreign_identifier) = md5(new.foreign_identifier)
  left join {deleted_table} gone
    on gone.provider = new.provider and md5(gone.foreign_identifier) = md5(new.foreign_identifier)
   and not {include_deleted}
  left join link_removal removal -- a join, because a subquery would keep PostgreSQL from planning parallel workers
    on {file_gone}
 where new.rejected is null
