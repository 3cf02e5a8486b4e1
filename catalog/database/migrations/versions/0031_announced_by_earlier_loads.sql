-- The columns that it had, in their order, and `announced`.
create or replace view every_load as
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed, complete,
       fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds,
       load_seconds, finished_on, whole, shortfalls, accepted, pull_began, announced
  from ingestion_report
 union all
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed, complete,
       fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds,
       load_seconds, finished_on, whole, shortfalls, accepted, pull_began, announced
  from earlier_load;
