"""Which records had a metric, because two totals do not tell lost metrics from deleted records."""

from alembic import op

revision = "0024"
down_revision = "0023"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {
    "image_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
    "audio_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
}


def upgrade() -> None:
    for table in LOCKS:
        op.execute(f"alter table {table} add column sample uuid[], drop column others")
        op.execute(
            f"comment on column {table}.sample is"
            " 'some records with a metric above 0 when val was determined; null: not known'"
        )
