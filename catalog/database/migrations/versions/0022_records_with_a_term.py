"""How many records of a part contain a sensitive term, so that two lists of terms can be compared."""

from alembic import op

revision = "0022"
down_revision = "0021"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"dataset_part": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table dataset_part add column with_term bigint")
    op.execute(
        "comment on column dataset_part.with_term is 'records that contain a sensitive term, whether or not"
        " they are left out for another reason as well; null: not counted'"
    )
