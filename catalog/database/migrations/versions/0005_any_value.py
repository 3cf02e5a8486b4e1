"""Functions that take whatever value a row may hold: merges by JSON type, scores between 0 and 1 or none."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
# Table or view that is there already → the strongest lock on it, and for how long.
LOCKS = {"audioset_view": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace(":", r"\:"))
