"""Which reports are of a whole pull: no limit, no chosen requests. A reingestion of everything asks for them."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("alter table ingestion_report add column whole boolean not null default false")
