"""What an API announced to a pull stays known when another load replaces its report."""

from pathlib import Path

from alembic import op

revision = "0031"
down_revision = "0030"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"earlier_load": "ACCESS EXCLUSIVE, an instant", "every_load": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table earlier_load add column announced bigint")
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
