"""Deleted records by the https form of their URL, with which they may come back."""

revision = "0020"
down_revision = "0019"
LOCKS: dict[str, str] = {}
INDEXES = {
    "deleted_image_http_url_md5_idx": "create index concurrently deleted_image_http_url_md5_idx"
    " on public.deleted_image (md5('https' || substr(url, 5))) where url like 'http:%'",
    "deleted_audio_http_url_md5_idx": "create index concurrently deleted_audio_http_url_md5_idx"
    " on public.deleted_audio (md5('https' || substr(url, 5))) where url like 'http:%'",
}


def upgrade() -> None:
    """Nothing but the indexes."""
