"""Where each batched update stands; the constants that all rows were last scored with."""

from alembic import op

revision = "0003"
down_revision = "0002"
# Table or view that is there already → the strongest lock on it, and for how long.
LOCKS = {
    "image_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
    "audio_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
}


def upgrade() -> None:
    op.execute("""
        create table batched_update (
            query_id text primary key,
            run_id text not null,             -- of the DAG run that works on it
            table_name text not null,
            statement text not null,
            total bigint not null,            -- rows selected
            next_row bigint not null,         -- where the next group begins
            stripe smallint not null,         -- and which of its stripes is next
            batch_size integer not null,      -- rows of the group at hand,
            stripes smallint not null,        -- and how many it is taken in
            updated bigint not null default 0,
            gone bigint not null default 0,   -- rows that were deleted meanwhile
            started_on timestamptz not null default now(),
            renewed_on timestamptz not null default now()
        )
    """)
    for media_type in ("image", "audio"):
        op.execute(
            f"alter table {media_type}_popularity_metrics add column refreshed_constant double precision"
        )
