"""Pauses of hosts whose links are checked, which tasks share and which outlast them."""

from alembic import op

revision = "0013"
down_revision = "0012"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new


def upgrade() -> None:
    op.execute("""
        create table link_pause (
            host text not null,
            survey text not null,
            paused_until timestamptz not null,
            number integer not null,
            seconds double precision not null,
            constraint link_pause_pkey primary key (host, survey)
        )
    """)
    op.execute("comment on table link_pause is 'hosts that check_links leaves alone'")
    op.execute(
        "comment on column link_pause.survey is"
        " 'the survey that keeps the pause; empty: the host asks for it, and all keep it'"
    )
    op.execute(
        "comment on column link_pause.number is 'pauses since the host has answered; seconds: of these'"
    )
