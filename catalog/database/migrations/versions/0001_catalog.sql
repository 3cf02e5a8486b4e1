-- The catalog: media tables, deleted media, popularity, audio sets; then what ingestion itself keeps.
-- Works on PostgreSQL 13 to 18, without any extension.

-- Keys that grow with time keep the key index's hot part small: new rows go to its right edge instead of everywhere.
-- PostgreSQL 18 has uuidv7(); the same layout (RFC 9562) is made here for older servers.
create function time_ordered_uuid() returns uuid language sql volatile parallel safe as $$
    select encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$;

do $$ begin
    if current_setting('server_version_num')::int >= 180000 then
        execute 'create or replace function time_ordered_uuid() returns uuid language sql volatile parallel safe as ''select uuidv7()''';
    end if;
end $$;

create table image (
    identifier uuid default time_ordered_uuid() not null,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    ingestion_type varchar(80),
    provider varchar(80),
    source varchar(80),
    foreign_identifier text,
    foreign_landing_url text,
    url text not null,
    thumbnail text,
    width integer,
    height integer,
    filesize integer,
    license varchar(50) not null,
    license_version varchar(25),
    creator text,
    creator_url text,
    title text,
    meta_data jsonb,
    tags jsonb,
    watermarked boolean,
    last_synced_with_source timestamptz,
    removed_from_source boolean not null,
    filetype varchar(5),
    category varchar(80),
    standardized_popularity double precision,
    constraint image_identifier_key primary key (identifier) -- one index serves as key and as the unique index of that name
);
create unique index image_provider_fid_idx on image (provider, md5(foreign_identifier));
create unique index image_url_key on image (url);

create table audio (
    identifier uuid default time_ordered_uuid() not null,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    ingestion_type varchar(80),
    provider varchar(80),
    source varchar(80),
    foreign_identifier text,
    foreign_landing_url text,
    url text not null,
    thumbnail text,
    filetype varchar(5),
    duration integer,
    bit_rate integer,
    sample_rate integer,
    category varchar(80),
    genres varchar(80)[],
    audio_set jsonb,
    set_position integer,
    alt_files jsonb,
    filesize integer,
    license varchar(50) not null,
    license_version varchar(25),
    creator text,
    creator_url text,
    title text,
    meta_data jsonb,
    tags jsonb,
    watermarked boolean,
    last_synced_with_source timestamptz,
    removed_from_source boolean not null,
    standardized_popularity double precision,
    audio_set_foreign_identifier text,
    constraint audio_identifier_key primary key (identifier)
);
create unique index audio_provider_fid_idx on audio (provider, md5(foreign_identifier));
create unique index audio_url_key on audio (url);

create table deleted_image (like image, deleted_on timestamptz not null, deleted_reason varchar(80));
create unique index deleted_image_provider_fid_idx on deleted_image (provider, md5(foreign_identifier));
create unique index deleted_image_identifier_key on deleted_image (identifier);

create table deleted_audio (like audio, deleted_on timestamptz not null, deleted_reason varchar(80));
create unique index deleted_audio_provider_fid_idx on deleted_audio (provider, md5(foreign_identifier));
create unique index deleted_audio_identifier_key on deleted_audio (identifier);

create view audioset_view as
select distinct on (audio_set_foreign_identifier, provider)
       audio_set_foreign_identifier as foreign_identifier,
       audio_set ->> 'title' as title,
       audio_set ->> 'foreign_landing_url' as foreign_landing_url,
       audio_set ->> 'creator' as creator,
       audio_set ->> 'creator_url' as creator_url,
       audio_set ->> 'url' as url,
       case when audio_set ->> 'filesize' ~ '^\d{1,9}$' then (audio_set ->> 'filesize')::integer end as filesize,
       (audio_set ->> 'filetype')::varchar(80) as filetype,
       audio_set ->> 'thumbnail' as thumbnail,
       provider
  from audio
 where audio_set_foreign_identifier is not null and audio_set is not null
 order by audio_set_foreign_identifier, provider, updated_on desc;

-- Popularity: which key of meta_data is a provider's metric, and the constant that its percentile gave.
create table image_popularity_metrics (
    provider varchar(80) primary key,
    metric varchar(80),
    percentile double precision default 0.85,
    val double precision,
    constant double precision
);
create table audio_popularity_metrics (like image_popularity_metrics including all);
insert into image_popularity_metrics (provider, metric) values
    ('flickr', 'views'), ('nappy', 'downloads'), ('rawpixel', 'download_count'), ('stocksnap', 'downloads_raw'),
    ('wikimedia', 'global_usage_count');
insert into audio_popularity_metrics (provider, metric) values
    ('jamendo', 'listens'), ('wikimedia_audio', 'global_usage_count'), ('freesound', 'num_downloads'), ('ccmixter', 'upload_num_scores');

create view image_popularity_constants as select provider, metric, percentile, val, constant from image_popularity_metrics;
create view audio_popularity_constants as select provider, metric, percentile, val, constant from audio_popularity_metrics;

-- Metrics are text in meta_data; what is no number counts as absent instead of failing a whole statement.
create function metric_value(meta_data jsonb, metric text) returns double precision language sql immutable parallel safe as $$
    select case when meta_data ->> metric ~ '^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,2})?\s*$' then (meta_data ->> metric)::double precision end
$$;

create function image_popularity_percentile(provider text, pop_field text, percentile double precision)
returns double precision language sql stable returns null on null input as $$
    select percentile_disc($3) within group (order by metric_value(meta_data, $2)) from image where image.provider = $1
$$;
create function audio_popularity_percentile(provider text, pop_field text, percentile double precision)
returns double precision language sql stable returns null on null input as $$
    select percentile_disc($3) within group (order by metric_value(meta_data, $2)) from audio where audio.provider = $1
$$;
create function standardized_image_popularity(provider text, meta_data jsonb)
returns double precision language sql stable returns null on null input as $$
    select metric_value($2, m.metric) / nullif(metric_value($2, m.metric) + m.constant, 0)
      from image_popularity_metrics m where m.provider = $1
$$;
create function standardized_audio_popularity(provider text, meta_data jsonb)
returns double precision language sql stable returns null on null input as $$
    select metric_value($2, m.metric) / nullif(metric_value($2, m.metric) + m.constant, 0)
      from audio_popularity_metrics m where m.provider = $1
$$;

-- One row for each run, day shift and media type; written in the transaction that made the rows visible.
create table ingestion_report (
    dag_id text not null,
    run_id text not null,
    day_shift integer not null default 0,
    provider text not null,
    media_type text not null,
    manifest_token text not null,     -- which pull was loaded; another one after a pull was cleared and fetched anew
    manifest_pages integer not null,  -- and how much of it
    window_start timestamptz,
    window_end timestamptz,
    replayed boolean not null default false,
    complete boolean not null,        -- false: the pull did not reach its end
    fetched bigint not null,
    inserted bigint not null,
    updated bigint not null,
    unchanged bigint not null,
    skipped bigint not null,
    rejected bigint not null,
    skipped_reasons jsonb not null default '{}',
    rejected_reasons jsonb not null default '{}',
    cleaned_reasons jsonb not null default '{}',
    pull_seconds double precision,
    load_seconds double precision,
    finished_on timestamptz not null default now(),
    primary key (dag_id, run_id, day_shift, media_type),
    constraint everything_accounted_for check (fetched = inserted + updated + unchanged + skipped + rejected)
);
create index ingestion_report_provider_idx on ingestion_report (provider, finished_on);

-- Shared rate limits and quotas, by the name of the secret they belong to.
create table rate_limit (key text primary key, next_slot timestamptz not null);
create table rate_quota (key text, period_start timestamptz, used bigint not null, primary key (key, period_start));

-- Who pulls: a newer try takes the lease over, and the older one, should it still live, notices at its next page.
create table pull_lease (task text primary key, holder uuid not null, renewed_on timestamptz not null default now());

-- Merging what a provider tells anew (new) into what is stored (old). Null never overwrites; nulls inside objects are left out.
create function merged_object(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select coalesce(jsonb_strip_nulls(old) || jsonb_strip_nulls(new), jsonb_strip_nulls(new), old)
$$;

-- A provider's own tags are replaced; those that somebody else added (machine tags above all) stay.
create function merged_tags(old jsonb, new jsonb, provider text) returns jsonb language sql immutable parallel safe as $$
    select case when new is null then old when old is null then new else new || coalesce(
        (select jsonb_agg(tag) from jsonb_array_elements(old) tag where tag ->> 'provider' is distinct from provider), '[]'
    ) end
$$;

create function merged_elements(old jsonb, new jsonb) returns jsonb language sql immutable parallel safe as $$
    select case when new is null then old when old is null then new else
        (select jsonb_agg(element order by position) from (
            select element, min(position) as position from jsonb_array_elements(old || new) with ordinality e(element, position) group by 1
        ) kept) end
$$;

create function merged_names(old varchar[], new varchar[]) returns varchar[] language sql immutable parallel safe as $$
    select case when new is null then old when old is null then new else
        array(select name from unnest(old || new) with ordinality n(name, position) group by name order by min(position)) end
$$;

create function same_elements(a jsonb, b jsonb) returns boolean language sql immutable parallel safe as $$
    select a is not distinct from b or coalesce(a @> b and a <@ b and jsonb_array_length(a) = jsonb_array_length(b), false)
$$;

create function same_names(a varchar[], b varchar[]) returns boolean language sql immutable parallel safe as $$
    select a is not distinct from b or coalesce(a @> b and a <@ b, false)
$$;
