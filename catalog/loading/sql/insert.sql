insert into {table} ({columns}, identifier, created_on, updated_on, last_synced_with_source, removed_from_source,
                     standardized_popularity)
select {values}, time_ordered_uuid(), now(), now(), now(), false,
       popularity_score(new.meta_data, m.metric, m.constant)
  from verdict join {loading} new on new.ctid = verdict.tid left join {metrics} m on m.provider = new.provider
 where verdict.outcome = 'new' and {among}
