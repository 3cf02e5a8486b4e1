-- The one definition of a fresh provider: whoever asks how old its records are, or what a usual pull brings, reads this view.
-- The columns are those that it had, in their order. A pull that began after its end had a wrong clock; one of an earlier release
-- does not say when it began.
create or replace view whole_pull as
select dag_id, run_id, day_shift, provider, media_type, manifest_token, manifest_pages, window_start, window_end, replayed, complete,
       fetched, inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds,
       load_seconds, finished_on, whole, shortfalls, accepted,
       coalesce(window_end, least(pull_began, finished_on)) as fresh_on
  from ingestion_report where complete and whole and not replayed;
comment on column whole_pull.fresh_on is
    'the moment up to which the catalog holds what the provider had: the end of the window, or else the beginning of the pull';
