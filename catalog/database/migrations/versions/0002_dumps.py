"""Which reports are of a whole pull, and which dump of a provider was loaded last."""

from alembic import op

revision = "0002"
down_revision = "0001"
# Table or view that is there already → the strongest lock on it, and for how long.
LOCKS = {"ingestion_report": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table ingestion_report add column whole boolean not null default false")
    op.execute(
        "create table source_dump (provider text primary key, token text not null,"
        " loaded_on timestamptz not null default now())"
    )
    op.execute(
        "comment on column ingestion_report.day_shift is"
        " 'days back of a reingestion; number of the batch of a dump'"
    )
