"""The API's tables, for local stacks and tests; in production the API's own migrations make them."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
# Table or view that is there already → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace(":", r"\:"))
