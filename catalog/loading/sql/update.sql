update {table} old
   set {merged}, updated_on = now(), last_synced_with_source = now(),
       removed_from_source = old.removed_from_source
           and exists (select from link_removal removal where {file_gone}),
       standardized_popularity = case when m.constant is not null then
           popularity_score({merged_meta}, m.metric, m.constant)
       else old.standardized_popularity end
  from verdict join {loading} new on new.ctid = verdict.tid left join {metrics} m on m.provider = new.provider
 where verdict.outcome = 'changed' and {among} and old.identifier = verdict.identifier
