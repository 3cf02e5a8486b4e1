-- The API database: the tables that a data refresh replaces, and those beside them that it must not break.
-- Names of indexes and constraints are those of the live system: a refresh keeps whatever names it finds. The unique indexes of image have
-- lost their constraints in years of promotions, those of audio have them still; both forms must survive.


create table image (
    id serial,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    identifier uuid not null,
    provider varchar(80),
    source varchar(80),
    foreign_identifier varchar(1000),
    foreign_landing_url varchar(1000),
    url varchar(1000),
    thumbnail varchar(1000),
    width integer,
    height integer,
    filesize integer,
    filetype varchar(80),
    license varchar(50) not null,
    license_version varchar(25),
    creator varchar(2000),
    creator_url varchar(2000),
    title varchar(5000),
    last_synced_with_source timestamptz,
    removed_from_source boolean not null,
    meta_data jsonb,
    view_count integer default 0,
    tags jsonb,
    watermarked boolean,
    standardized_popularity double precision,
    category varchar(80),
    constraint image_pkey primary key (id)
);

create unique index image_identifier_key on image (identifier);
create unique index image_url_key on image (url);
create unique index unique_provider_image on image (foreign_identifier, provider);

create index image_category_daa5d91c on image (category);
create index image_category_daa5d91c_like on image (category varchar_pattern_ops);
create index image_foreign_identifier_4c72d3ee on image (foreign_identifier);
create index image_foreign_identifier_4c72d3ee_like on image (foreign_identifier varchar_pattern_ops);
create index image_last_synced_with_source_187adf09 on image (last_synced_with_source);
create index image_provider_7d11f847 on image (provider);
create index image_provider_7d11f847_like on image (provider varchar_pattern_ops);
create index image_source_d5a89e97 on image (source);
create index image_source_d5a89e97_like on image (source varchar_pattern_ops);
create index image_url_c6aabda2_like on image (url varchar_pattern_ops);

create table audio (
    id serial,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    identifier uuid not null,
    provider varchar(80),
    source varchar(80),
    foreign_identifier varchar(1000),
    foreign_landing_url varchar(1000),
    url varchar(1000),
    thumbnail varchar(1000),
    audio_set_position integer,
    audio_set_foreign_identifier varchar(1000),
    genres varchar(80)[],
    duration integer, -- milliseconds
    bit_rate integer, -- bits a second
    sample_rate integer, -- hertz
    alt_files jsonb,
    filesize integer,
    filetype varchar(80),
    license varchar(50) not null,
    license_version varchar(25),
    creator varchar(2000),
    creator_url varchar(2000),
    title varchar(2000),
    last_synced_with_source timestamptz,
    removed_from_source boolean not null,
    meta_data jsonb,
    view_count integer,
    tags jsonb,
    watermarked boolean,
    standardized_popularity double precision,
    category varchar(80),
    constraint audio_pkey primary key (id),
    constraint audio_identifier_key unique (identifier),
    constraint audio_url_key unique (url),
    constraint unique_provider_audio unique (foreign_identifier, provider)
);

create index audio_category_ceb7d386 on audio (category);
create index audio_category_ceb7d386_like on audio (category varchar_pattern_ops);
create index audio_foreign_identifier_617f66ad on audio (foreign_identifier);
create index audio_foreign_identifier_617f66ad_like on audio (foreign_identifier varchar_pattern_ops);
create index audio_genres_e34cc474 on audio (genres);
create index audio_last_synced_with_source_94c4a383 on audio (last_synced_with_source);
create index audio_provider_8fe1eb54 on audio (provider);
create index audio_provider_8fe1eb54_like on audio (provider varchar_pattern_ops);
create index audio_source_e9ccc813 on audio (source);
create index audio_source_e9ccc813_like on audio (source varchar_pattern_ops);
create index audio_url_b6a832d3_like on audio (url varchar_pattern_ops);

create table audioset (
    id serial,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    foreign_identifier varchar(1000),
    title varchar(2000),
    foreign_landing_url varchar(1000),
    creator varchar(2000),
    creator_url varchar(2000),
    url varchar(1000),
    filesize integer,
    filetype varchar(80),
    thumbnail varchar(1000),
    provider varchar(80),
    constraint api_audioset_pkey primary key (id), -- the table's old name lives on in these
    constraint api_audioset_url_key unique (url),
    constraint unique_foreign_identifier_provider unique (foreign_identifier, provider)
);

create index api_audioset_foreign_identifier_28c1db59 on audioset (foreign_identifier);
create index api_audioset_foreign_identifier_28c1db59_like on audioset (foreign_identifier varchar_pattern_ops);
create index api_audioset_url_200f9fb4_like on audioset (url varchar_pattern_ops);
create index audioset_provider_cc061f30 on audioset (provider);
create index audioset_provider_cc061f30_like on audioset (provider varchar_pattern_ops);

-- Moderation

create table api_deletedimage (
    created_on timestamptz not null,
    updated_on timestamptz not null,
    identifier uuid,
    constraint api_deletedimages_pkey primary key (identifier)
);
create table api_matureimage (created_on timestamptz not null, identifier uuid primary key);

create table api_deletedaudio (
    created_on timestamptz not null,
    updated_on timestamptz not null,
    identifier uuid,
    constraint api_deletedaudio_pkey primary key (identifier)
);
create table api_matureaudio (created_on timestamptz not null, identifier uuid primary key);

create table auth_user (id serial primary key, username varchar(150) not null unique);

create table api_imagedecision (
    id serial primary key,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    moderator_id integer not null references auth_user deferrable initially deferred,
    notes text,
    action varchar(32) not null
);
create table api_imagedecisionthrough (
    id serial primary key,
    decision_id integer not null references api_imagedecision deferrable initially deferred,
    identifier uuid not null
);
create table nsfw_reports (
    id serial primary key,
    created_at timestamptz not null,
    identifier uuid not null,
    reason varchar(20) not null, -- mature, dmca, other
    description text,
    status varchar(20) not null default 'pending_review', -- newer systems have only decision_id; null is pending
    decision_id integer references api_imagedecision on delete set null deferrable initially deferred
);

create table api_audiodecision (
    id serial primary key,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    moderator_id integer not null references auth_user deferrable initially deferred,
    notes text,
    action varchar(32) not null
);
create table api_audiodecisionthrough (
    id serial primary key,
    decision_id integer not null references api_audiodecision deferrable initially deferred,
    identifier uuid not null
);
create table nsfw_reports_audio (
    id serial primary key,
    created_at timestamptz not null,
    identifier uuid not null,
    reason varchar(20) not null, -- mature, dmca, other
    description text,
    status varchar(20) not null default 'pending_review', -- newer systems have only decision_id; null is pending
    decision_id integer references api_audiodecision on delete set null deferrable initially deferred
);

-- Lists that people made; the rows that name media are tied to the media tables

create table imagelist (
    id serial primary key,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    title varchar(2000) not null,
    slug varchar(200) not null unique,
    auth varchar(64) not null
);
create table imagelist_images (
    id serial primary key,
    imagelist_id integer not null references imagelist deferrable initially deferred,
    image_id integer not null,
    constraint imagelist_images_imagelist_id_image_id_uniq unique (imagelist_id, image_id),
    constraint imagelist_images_image_id_fk_image_id foreign key (image_id) references image (id) deferrable initially deferred
);
create index imagelist_images_image_id_idx on imagelist_images (image_id);

create table audiolist (
    id serial primary key,
    created_on timestamptz not null,
    updated_on timestamptz not null,
    title varchar(2000) not null,
    slug varchar(200) not null unique,
    auth varchar(64) not null
);
create table audiolist_audios (
    id serial primary key,
    audiolist_id integer not null references audiolist deferrable initially deferred,
    audio_id integer not null,
    constraint audiolist_audios_audiolist_id_audio_id_uniq unique (audiolist_id, audio_id),
    constraint audiolist_audios_audio_id_fk_audio_id foreign key (audio_id) references audio (id) deferrable initially deferred
);
create index audiolist_audios_audio_id_idx on audiolist_audios (audio_id);

create table api_audioaddon (
    audio_identifier uuid primary key,
    waveform_peaks double precision[],
    created_on timestamptz not null,
    updated_on timestamptz not null
);
create table content_provider (
    id serial primary key,
    created_on timestamptz not null,
    provider_identifier varchar(50) not null unique,
    provider_name varchar(250) not null,
    domain_name varchar(500) not null,
    filter_content boolean not null default false,
    notes text,
    media_type varchar(80) not null
);

-- Who may use the API; a staging database restored from production forgets them
create table api_throttledapplication (
    id serial primary key,
    client_id varchar(100) not null unique,
    client_secret varchar(255) not null,
    name varchar(255) not null,
    created timestamptz not null,
    updated timestamptz not null,
    rate_limit_model varchar(20) not null, -- standard, enhanced, exempt
    verified boolean not null
);
create table api_oauth2registration (
    id serial primary key,
    name varchar(150) not null unique,
    description varchar(10000) not null,
    email varchar(254) not null
);
create table api_oauth2verification (
    id serial primary key,
    associated_application_id integer not null references api_throttledapplication deferrable initially deferred,
    email varchar(254) not null,
    code varchar(256) not null
);
create index api_oauth2verification_code_idx on api_oauth2verification (code);
