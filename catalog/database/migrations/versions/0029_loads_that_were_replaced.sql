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

-- An address that is stored with https stays when it comes with http, also inside an object or among the files of a record. A
-- function of its own, so that the planner inlines the one that calls it.
create function kept_addresses(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select coalesce(jsonb_object_agg(key, old -> key), '{}') from jsonb_each_text(new) one (key, value)
     where starts_with(value, 'http:') and old ->> key = 'https' || substr(value, 5)
$$;
comment on function kept_addresses(jsonb, jsonb) is
    'of two objects, the keys under which the first one has the address of the second one with https instead of http';

create or replace function merged_object(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(new) is distinct from 'object' then old
                when old is null then jsonb_strip_nulls(new)
                when strpos(new::text, '"http:') > 0 then
                    coalesce(jsonb_strip_nulls(stored_object(old)), '{}') || jsonb_strip_nulls(new)
                        || kept_addresses(stored_object(old), new)
                when jsonb_typeof(old) = 'object' then jsonb_strip_nulls(old) || jsonb_strip_nulls(new)
                else coalesce(jsonb_strip_nulls(stored_object(old)), '{}') || jsonb_strip_nulls(new) end
$$;
comment on function merged_object(jsonb, jsonb) is 'the keys of both; those of the second win, except an address with http';

create or replace function merged_elements(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(new) is distinct from 'array' then old else (
        select coalesce(jsonb_agg(newest order by place), '[]') from (
            select case when bool_or(starts_with(element ->> 'url', 'https:')) and bool_or(starts_with(element ->> 'url', 'http:'))
                        then (array_agg(element order by position desc))[1] || jsonb_build_object('url', 'https:' || max(address))
                        else (array_agg(element order by position desc))[1] end as newest,
                   min(position) as place
              from jsonb_array_elements(stored_elements(old, 'url') || new) with ordinality e (element, position)
                   cross join regexp_replace(element ->> 'url', '^https?:', '') address
             group by address, case when address is null then element end
        ) kept
    ) end
$$;
comment on function merged_elements(jsonb, jsonb) is
    'the elements of both; of those with one url, with https or http, the newest, with https if one of them has it';
