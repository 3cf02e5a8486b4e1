"""What loads have counted whose report a later load of the same run has replaced, for comparison."""

from alembic import op

revision = "0028"
down_revision = "0027"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"earlier_load": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute(
        "alter table earlier_load add column unchanged bigint, add column rejected bigint,"
        " add column accepted boolean"
    )
