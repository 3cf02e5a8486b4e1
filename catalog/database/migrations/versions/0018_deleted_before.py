"""URLs of earlier deletions: they stay deleted when a record with another one is deleted again."""

from alembic import op

revision = "0018"
down_revision = "0017"
LOCKS: dict[str, str] = {}


def upgrade() -> None:
    op.execute(
        "create table deleted_before (media_type text not null, url text not null, provider text,"
        " foreign_identifier text, deleted_on timestamptz, deleted_reason text, record jsonb not null)"
    )
    op.execute("create index deleted_before_url_md5_idx on deleted_before (md5(url))")
    op.execute(
        "comment on table deleted_before is 'what deleted_<media> had of records that were deleted again with"
        " another URL; no other record is loaded with the earlier one'"
    )
