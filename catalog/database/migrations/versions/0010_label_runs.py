"""Where each run stands that merges labels of an image service."""

from alembic import op

revision = "0010"
down_revision = "0009"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new


def upgrade() -> None:
    op.execute("""
        create table label_run (
            run_id text primary key,
            url text not null,
            size bigint not null,             -- of the file, in bytes,
            version text not null,            -- and its tag or time; both show whether it has changed
            provider text not null,           -- of the labels
            least_confidence double precision not null,
            read_to bigint not null default 0,  -- bytes of the file that are staged
            lines bigint not null default 0,
            staged bigint not null default 0,   -- rows of the run's table
            refused json not null default '{}', -- reason → number, and the first lines with it
            outcome json,                       -- of the merge, once it has ended
            started_on timestamptz not null default now(),
            renewed_on timestamptz not null default now()
        )
    """)
    op.execute(
        "comment on table label_run is "
        "'runs of add_machine_labels; the labels of a run are in machine_labels_<digest of the run id>'"
    )
