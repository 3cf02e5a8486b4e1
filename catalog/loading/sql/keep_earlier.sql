-- Keeps the report that the report of another load of the same run is about to replace.
insert into earlier_load (
    dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed,
    complete, whole, shortfalls, accepted, fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons,
    rejected_reasons, cleaned_reasons, pull_seconds, load_seconds, pull_began, finished_on, announced)
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed,
       complete and moment = finished_on, whole, shortfalls, accepted, fetched, inserted, updated, unchanged, skipped, rejected,
       skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds, load_seconds, pull_began, moment, announced
  from ingestion_report cross join unnest(loaded_before || finished_on) moment
 where (dag_id, run_id, day_shift, media_type) = (%(dag_id)s, %(run_id)s, %(day_shift)s, %(media_type)s)
