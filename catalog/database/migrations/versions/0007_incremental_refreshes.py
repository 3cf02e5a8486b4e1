"""The state after each refresh, which the next incremental refresh continues."""

from alembic import op

revision = "0007"
down_revision = "0006"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"refresh": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table refresh add column basis jsonb")
    op.execute(
        "comment on column refresh.basis is "
        "'state after the refresh, from which an incremental refresh continues: horizon of row versions, "
        "inputs, indexes and their documents, and the transaction that wrote it'"
    )
