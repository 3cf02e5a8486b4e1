"""How many records of a provider have no metric, because deleted records have not lost theirs."""

from alembic import op

revision = "0021"
down_revision = "0020"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {
    "image_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
    "audio_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
}


def upgrade() -> None:
    for table in LOCKS:
        op.execute(f"alter table {table} add column others bigint")
        op.execute(
            f"comment on column {table}.others is"
            " 'records without a metric above 0 when val was determined; null: not known'"
        )
