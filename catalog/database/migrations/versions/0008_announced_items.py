"""The number of items that an API announced, beside the number that was read."""

from alembic import op

revision = "0008"
down_revision = "0007"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"ingestion_report": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table ingestion_report add column announced bigint")
    op.execute(
        "comment on column ingestion_report.announced is "
        "'items that the API announced for the whole pull, of all media types; null: it did not say'"
    )
