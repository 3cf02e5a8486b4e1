"""When the pull of each load began: one that is loaded late does not replace what a later one has read."""

from alembic import op

revision = "0016"
down_revision = "0015"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"ingestion_report": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table ingestion_report add column pull_began timestamptz")
    op.execute(
        "comment on column ingestion_report.pull_began is"
        " 'when the pull that was loaded began; null: the load is of an earlier release'"
    )
