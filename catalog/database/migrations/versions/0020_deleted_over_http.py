"""Deleted records by the https form of their URL, with which they may come back."""

from alembic import op

revision = "0020"
down_revision = "0019"
LOCKS = {
    "deleted_image": "SHARE, as long as an index build",
    "deleted_audio": "SHARE, as long as an index build",
}


def upgrade() -> None:
    of_http = r"(md5('https' || substr(url, 5))) where url like 'http\:%'"
    op.execute("create index deleted_image_http_url_md5_idx on deleted_image " + of_http)
    op.execute("create index deleted_audio_http_url_md5_idx on deleted_audio " + of_http)
