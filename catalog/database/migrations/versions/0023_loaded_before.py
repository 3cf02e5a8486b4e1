"""When a pull was loaded before: rows that its last load did not write again have the moment of that load."""

from alembic import op

revision = "0023"
down_revision = "0022"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"ingestion_report": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table ingestion_report add column loaded_before timestamptz[] not null default '{}'")
    op.execute(
        "comment on column ingestion_report.loaded_before is"
        " 'moments of earlier loads of the same pull, whose rows have them as last_synced_with_source'"
    )
