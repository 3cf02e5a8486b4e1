"""How many records of a provider have a metric, so that a refresh notices when they have lost it."""

from alembic import op

revision = "0017"
down_revision = "0016"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {
    "image_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
    "audio_popularity_metrics": "ACCESS EXCLUSIVE, an instant",
}


def upgrade() -> None:
    for table in LOCKS:
        op.execute(f"alter table {table} add column records bigint")
        op.execute(
            f"comment on column {table}.records is"
            " 'records with a metric above 0 when val was determined; null: not known'"
        )
