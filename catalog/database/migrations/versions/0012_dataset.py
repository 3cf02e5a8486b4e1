"""Versions of the published dataset, and the parts of each."""

from alembic import op

revision = "0012"
down_revision = "0011"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new


COMMENTS = {
    "table dataset_version": "one row for each version of the published dataset; it belongs to one run",
    "column dataset_version.token": "is also in the pointer and in the manifest, so that versions of the "
    "same number are told apart after the database was restored",
    "column dataset_version.stage": "writing; published: the pointer has named it; abandoned: a newer run "
    "has begun; deleted: its files are gone",
    "column dataset_version.state": "number of the snapshot that the parts are read from; a new one is taken "
    "when nobody holds the last one any more",
    "column dataset_version.exported": "names under which sessions have exported the snapshot",
    "table dataset_part": "one row for each part of a version: a provider, or pages of all other providers",
    "column dataset_part.state": "the snapshot that the files hold; null: not written. A part whose rows "
    "have not changed since passes to a newer snapshot",
    "column dataset_part.transaction": "the transaction that recorded the files; a row that came from a dump "
    "has another one",
}


def upgrade() -> None:
    op.execute("""
        create table dataset_version (
            number bigint primary key,
            run_id text not null,
            token uuid not null default gen_random_uuid(),
            root text not null,
            stage text not null default 'writing'
                check (stage in ('writing', 'published', 'abandoned', 'deleted')),
            settings jsonb not null default '{}',
            state integer not null default 0,
            snapshot text,
            horizon bigint,
            exported text[] not null default '{}',
            taken_on timestamptz,
            changes jsonb,
            summary jsonb,
            begun_on timestamptz not null default now(),
            published_on timestamptz
        )
    """)
    op.execute("create unique index dataset_version_run_idx on dataset_version (run_id)")
    op.execute("""
        create table dataset_part (
            version bigint not null references dataset_version (number) on delete cascade,
            number integer not null,
            media_type text not null,
            kind text not null check (kind in ('provider', 'pages')),
            provider text,
            lower_page bigint,
            upper_page bigint,
            file_node bigint,
            state integer,
            rows_read bigint,
            files jsonb not null default '[]',
            transaction bigint,
            primary key (version, number)
        )
    """)
    for target, comment in COMMENTS.items():
        op.execute(f"comment on {target} is '{comment}'")
