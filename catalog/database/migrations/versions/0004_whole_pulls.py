"""Whole pulls and attempts; deleted records and alternative files by URL."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
# Table or view that is there already → the strongest lock on it, and for how long.
LOCKS = {
    "ingestion_report": "ACCESS EXCLUSIVE, as long as an index build",
    "deleted_image": "SHARE, as long as an index build",
    "deleted_audio": "SHARE, as long as an index build",
}


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace(":", r"\:"))
