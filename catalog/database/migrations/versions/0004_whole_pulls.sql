-- Everything here is added or keeps its signature, so the previous release works with this schema.

create sequence pull_attempt;
comment on sequence pull_attempt is
    'numbers the attempts of all pulls, a later one higher: what an attempt writes bears its number, so an older attempt that is still '
    'alive cannot be taken for the newer one (a fencing token)';

alter table ingestion_report add column shortfalls jsonb not null default '[]';
alter table ingestion_report add column accepted boolean not null default false;

comment on table ingestion_report is
    'one row for each run, day shift and media type, written in the transaction that makes the rows of the load visible';
comment on column ingestion_report.complete is 'the pull reached its end; false: it failed or was stopped, and what it had read was loaded';
comment on column ingestion_report.whole is
    'the pull asked for everything and got it: it was not limited, not restricted to certain requests, and had no shortfall, or a person '
    'accepted those it had. Of a dump that is loaded in batches, the report of the last batch';
comment on column ingestion_report.replayed is 'the answers came from a recording instead of the provider';
comment on column ingestion_report.shortfalls is
    'why the pull is not whole, or seems not to be: a list of texts for people, such as how much was announced and how much came';
comment on column ingestion_report.accepted is 'a person said, by the conf of the run, that the shortfalls are right';

-- The one definition of a fresh provider: whoever asks how old its records are, or what a usual pull brings, reads this view.
create view whole_pull as
select *, coalesce(window_end, finished_on) as fresh_on from ingestion_report where complete and whole and not replayed;
comment on view whole_pull is
    'the reports of pulls that reached their end, asked for everything, got it, and got it from the provider itself';
comment on column whole_pull.fresh_on is
    'the moment up to which the catalog holds what the provider had: the end of the window, or else the end of the load';

-- The last whole pulls of a provider and media type: order by fresh_on desc.
create index ingestion_report_whole_idx on ingestion_report (provider, media_type, (coalesce(window_end, finished_on)))
 where complete and whole and not replayed;

-- A deleted record stays deleted when it comes back under another identifier. By digest: a URL may be longer than an index entry.
create index deleted_image_url_md5_idx on deleted_image (md5(url));
create index deleted_audio_url_md5_idx on deleted_audio (md5(url));

-- Files of a record, by URL: a file that is told of anew replaces what was told before, at its place; others are appended.
-- Elements without a URL are compared as they are. What is no array counts as absent.
create or replace function merged_elements(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when jsonb_typeof(new) is distinct from 'array' then old else (
        select coalesce(jsonb_agg(newest order by place), '[]') from (
            select (array_agg(element order by position desc))[1] as newest, min(position) as place
              from jsonb_array_elements(case when jsonb_typeof(old) = 'array' then old else '[]' end || new)
                   with ordinality e(element, position)
             group by element ->> 'url', case when element ->> 'url' is null then element end
        ) kept
    ) end
$$;

-- Two arrays with the same elements in any order; anything else is the same only when it is equal.
create or replace function same_elements(a jsonb, b jsonb) returns boolean language sql immutable parallel safe as $$
    select a is not distinct from b or case when jsonb_typeof(a) = 'array' and jsonb_typeof(b) = 'array'
        then a @> b and a <@ b and jsonb_array_length(a) = jsonb_array_length(b) else false end
$$;
