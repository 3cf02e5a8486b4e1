"""Reports that a later load of the same run has replaced: they tell which rows their loads have written."""

from alembic import op

revision = "0025"
down_revision = "0024"
LOCKS: dict[str, str] = {}


def upgrade() -> None:
    op.execute("""
        create table earlier_load (
            dag_id text not null,
            run_id text not null,
            day_shift integer not null,
            provider text not null,
            media_type text not null,
            manifest_token text not null,
            window_start timestamptz,
            window_end timestamptz,
            replayed boolean not null,
            complete boolean not null,
            whole boolean not null,
            shortfalls jsonb not null,
            fetched bigint not null,
            inserted bigint not null,
            updated bigint not null,
            skipped_reasons jsonb not null,
            pull_seconds double precision,
            pull_began timestamptz,
            finished_on timestamptz not null
        )
    """)
    op.execute("create index earlier_load_provider_idx on earlier_load (provider, finished_on)")
    op.execute(
        "comment on table earlier_load is"
        " 'reports that a later load of the same run has replaced, as far as they tell which rows are newer'"
    )
