-- All loads: a load stays one although another one of its run has replaced its report, because its rows are still there.
create view every_load as
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed, complete,
       fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds,
       load_seconds, finished_on, whole, shortfalls, accepted, pull_began
  from ingestion_report
 union all
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed, complete,
       fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds,
       load_seconds, finished_on, whole, shortfalls, accepted, pull_began
  from earlier_load;
comment on view every_load is
    'the reports of all loads, also of those whose report a later load of the same run has replaced; an earlier release has kept '
    'less of these, and what it has not kept is null';

-- The one definition of a fresh provider: whoever asks how old its records are, or what a usual pull brings, reads this view.
-- The columns are those that it had, in their order. A pull that began after its end had a wrong clock, and so had the server if
-- a load has ended in the future; a pull of an earlier release does not say when it began.
create or replace view whole_pull as
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed, complete,
       fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds,
       load_seconds, finished_on, whole, shortfalls, accepted,
       coalesce(window_end, least(pull_began, finished_on)) as fresh_on
  from every_load where complete and whole and not replayed and finished_on <= now() + interval '1 hour';
