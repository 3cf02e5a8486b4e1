-- Everything here is added, so the previous release works with this schema.

create table turn (
    number bigint generated always as identity primary key,
    dag_id text not null,
    run_id text not null,
    taken_on timestamptz not null default now(),
    given_up_for text,
    given_up_on timestamptz
);
comment on table turn is
    'one row for each time that a run of a DAG which conflicts with others was allowed to begin. The newest row of a run counts, and its '
    'number is a fencing token: tasks of a run whose turn was given up refuse to work';
comment on column turn.given_up_for is
    'which run began after this one had ended, for people; the same run when it began again; null: the turn is held';

create index turn_run_idx on turn (dag_id, run_id, number);
create index turn_held_idx on turn (dag_id) where given_up_for is null;

create table refresh (
    number bigint primary key references turn (number) on delete cascade,
    plan jsonb not null,
    stage text not null default 'working' check (stage in ('working', 'tables', 'promoted')),
    indexes jsonb not null default '{}',
    begun_on timestamptz not null default now()
);
comment on table refresh is
    'what a refresh of a search index is, written once by its first task, in the turn of its run; all other tasks read it from here';
comment on column refresh.plan is
    'from which table or index into which indexes, under which tag policy, since which moment moderation counts, what the live tables '
    'looked like, and what was counted and live before';
comment on column refresh.stage is 'working: nothing of it is live; tables: its tables are live; promoted: its indexes are live, too';
comment on column refresh.indexes is
    'of each index that the refresh made, by name: the identifier that the engine gave it (uuid), and, once it was counted, its documents';
