-- A survey is a sample of a provider's records, or a slice of all of them, whose links a run checks.
create table link_survey (
    run_id text not null,
    media_type text not null,
    provider varchar(80) not null,
    slice integer not null, -- 0: a sample; otherwise the number of the slice
    slices integer not null, -- into which the records are divided; 0: a sample
    planned_on timestamptz not null,
    concluded_on timestamptz,
    there integer,
    gone integer,
    unclear integer,
    resized integer,
    share double precision,
    low double precision,
    high double precision,
    constraint link_survey_pkey primary key (run_id, media_type, provider, slice)
);
create index link_survey_provider_idx on link_survey (provider, media_type, concluded_on);
comment on table link_survey is 'samples of providers whose links were checked, with the estimated share of files that are gone';
comment on column link_survey.share is 'share of gone files among the clear outcomes of the sample, null if too many are not trusted; low and high: Wilson interval, 95 %';

-- Rows are written when the check is planned; a run that resumes checks those without checked_on.
create table link_check (
    number bigint generated always as identity,
    run_id text not null,
    media_type text not null,
    provider varchar(80) not null,
    slice integer not null,
    purpose text not null,
    identifier uuid not null,
    url text not null,
    host text not null,
    known_size bigint,
    checked_on timestamptz,
    outcome text,
    reason text,
    status integer,
    redirect text,
    size bigint,
    judged boolean not null default false,
    constraint link_check_pkey primary key (number),
    constraint link_check_purpose_check check (purpose in ('sample', 'again', 'control')),
    constraint link_check_outcome_check check (outcome in ('there', 'gone', 'unclear')),
    constraint link_check_whole_check check ((checked_on is null) = (outcome is null))
);
create unique index link_check_run_idx on link_check (run_id, media_type, identifier);
create index link_check_record_idx on link_check (media_type, identifier, checked_on);
create index link_check_gone_idx on link_check (provider, media_type, checked_on) where outcome = 'gone';
create index link_check_there_idx on link_check (provider, media_type, host, checked_on) where outcome = 'there';
create index link_check_redirect_idx on link_check (md5(redirect)) where redirect is not null;
create index link_check_checked_on_idx on link_check (checked_on);
create index link_check_survey_idx on link_check (run_id, media_type, provider, slice);
comment on table link_check is 'checks of links; rows are deleted 400 days after the check';
comment on column link_check.purpose is 'sample: drawn at random; again: it was gone before; control: shows whether its host works';
comment on column link_check.judged is 'its host and provider worked as a whole, or the outcome was changed to unclear';

create table link_removal (
    number bigint generated always as identity,
    media_type text not null,
    provider varchar(80) not null,
    identifier uuid not null,
    url text not null,
    first_gone_on timestamptz not null,
    last_gone_on timestamptz not null,
    checks integer not null,
    run_id text not null,
    removed_on timestamptz not null,
    ended_on timestamptz,
    ended_because text,
    ended_by text,
    constraint link_removal_pkey primary key (number),
    constraint link_removal_end_check check ((ended_on is null) = (ended_because is null))
);
create unique index link_removal_open_idx on link_removal (identifier, media_type) where ended_on is null;
create index link_removal_record_idx on link_removal (identifier, media_type, ended_on);
create index link_removal_provider_idx on link_removal (provider, media_type) where ended_on is null;
comment on table link_removal is 'records that were marked as removed from their source because their file is gone; while a removal is open and the URL is the same, loads keep the mark';
comment on column link_removal.ended_by is 'run that ended it';
