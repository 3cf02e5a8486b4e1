"""When the file of each removed record was last checked, so that a run finds those that wait longest."""

from alembic import op

revision = "0015"
down_revision = "0014"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"link_removal": "ACCESS EXCLUSIVE, as long as an index build"}


def upgrade() -> None:
    op.execute("alter table link_removal add column checked_on timestamptz")
    op.execute(
        "comment on column link_removal.checked_on is 'last check of the file; null: none since the removal'"
    )
    op.execute(
        "create index link_removal_waiting_idx on link_removal (provider, media_type, checked_on nulls first)"
        " where ended_on is null"
    )
