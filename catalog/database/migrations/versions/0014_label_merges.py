"""When each run of labels began to merge, so that an older one does not undo a part of it."""

from alembic import op

revision = "0014"
down_revision = "0013"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"label_run": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table label_run add column merging_since timestamptz")
    op.execute(
        "comment on column label_run.merging_since is 'first batch of the merge; null: nothing is merged'"
    )
