"""Reports of completed runs that wait for the daily digest."""

from alembic import op

revision = "0009"
down_revision = "0008"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new


def upgrade() -> None:
    op.execute("""
        create table digest_entry (
            dag_id text not null,
            run_id text not null,
            task_id text not null,
            report json not null,
            collected_on timestamptz not null default now(),
            sent_on timestamptz,
            primary key (dag_id, run_id, task_id)
        )
    """)
    op.execute(
        "comment on table digest_entry is "
        "'reports of completed runs for the daily digest, one row for each task that reports; rows are kept "
        "for 30 days after they were sent, so that a report that is collected again is not sent again'"
    )
