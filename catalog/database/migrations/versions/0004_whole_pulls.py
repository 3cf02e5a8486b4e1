"""Which pulls are whole, why others are not, and which attempt wrote what; deleted records by URL; alternative files by URL."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace(":", r"\:"))
