-- The loads of pulls that began later than another one, also those whose report a later load has replaced.
with report as (
    -- A release that does not fill `earlier_load` notes the moments of earlier loads of a pull with its report.
    select dag_id, run_id, manifest_token, window_start, window_end, complete and moment = finished_on as complete, whole,
           shortfalls, fetched, inserted, updated, skipped_reasons, pull_seconds, pull_began, moment as finished_on
      from ingestion_report cross join unnest(loaded_before || finished_on) moment
     where provider = %(provider)s and media_type = %(media_type)s and not replayed and finished_on > %(began)s
     union all
    select dag_id, run_id, manifest_token, window_start, window_end, complete, whole,
           shortfalls, fetched, inserted, updated, skipped_reasons, pull_seconds, pull_began, finished_on
      from earlier_load
     where provider = %(provider)s and media_type = %(media_type)s and not replayed and finished_on > %(began)s
), dated as (
    -- Reports of older releases do not say when the pull began, and a pull that began after its load had a wrong clock: then
    -- the latest moment at which it can have begun counts. A load that has ended in the future tells nothing.
    select *, coalesce(case when pull_began <= finished_on then pull_began end,
                       finished_on - coalesce(pull_seconds, 0) * interval '1 second') as began
      from report
     where finished_on <= now() + %(ahead)s
), later as (
    select *, sum(fetched - twice) filter (where complete) over whole_pull as read, -- a dump has several loads
           sum(inserted + updated) filter (where complete) over whole_pull as written,
           min(finished_on) filter (where complete) over whole_pull as since
      from dated
           cross join lateral (select coalesce(sum(number::bigint), 0) as twice
                                 from jsonb_each_text(skipped_reasons) reason (name, number)
                                where name = any(%(read_twice)s)) again
     where manifest_token <> %(token)s and began > %(began)s
    window whole_pull as (partition by dag_id, run_id, manifest_token)
)
select began, finished_on, since,
       case when complete and whole and shortfalls = '[]' and read >= %(least)s
                 and (window_start is null
                      or window_start <= %(start)s::timestamptz and window_end >= %(end)s::timestamptz)
            then read - written end as unwritten
  from later
