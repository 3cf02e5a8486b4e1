"""Checks of the links of stored records, and the records that were removed because their file is gone."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
