"""A whole pull stays one when another load replaces its report; https stays inside JSON."""

from pathlib import Path

from alembic import op

revision = "0029"
down_revision = "0028"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"earlier_load": "ACCESS EXCLUSIVE, an instant", "whole_pull": "ACCESS EXCLUSIVE, an instant"}
INDEXES = {
    "earlier_load_fresh_idx": "create index concurrently earlier_load_fresh_idx"
    " on public.earlier_load"
    " (provider, media_type, (coalesce(window_end, least(pull_began, finished_on))))"
    " where complete and whole and not replayed"
}


def upgrade() -> None:
    op.execute(
        "alter table earlier_load add column manifest_pages integer, add column skipped bigint,"
        " add column rejected_reasons jsonb, add column cleaned_reasons jsonb,"
        " add column load_seconds double precision"
    )
    op.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").replace(":", r"\:"))
