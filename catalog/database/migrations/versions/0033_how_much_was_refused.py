"""How much of something was lost when a check refused it, so that a larger loss is not accepted."""

from alembic import op

revision = "0033"
down_revision = "0032"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"refusal": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table refusal add column lost bigint")
    op.execute(
        "comment on column refusal.lost is 'how much of it is gone; if far more is gone later, that was not "
        "reported; null: an earlier release has not kept it, so it covers nothing'"
    )
