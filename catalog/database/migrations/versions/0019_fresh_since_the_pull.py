"""A pull of everything is as fresh as its beginning: its load may be late.

The index of the earlier definition stays for the release before.
"""

from pathlib import Path

from alembic import op

revision = "0019"
down_revision = "0018"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"whole_pull": "ACCESS EXCLUSIVE, an instant"}
INDEXES = {
    "ingestion_report_fresh_idx": "create index concurrently ingestion_report_fresh_idx"
    " on public.ingestion_report"
    " (provider, media_type, (coalesce(window_end, least(pull_began, finished_on))))"
    " where complete and whole and not replayed"
}


def upgrade() -> None:
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace(":", r"\:"))
