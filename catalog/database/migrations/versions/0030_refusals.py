"""What checks have refused, so that a run can accept only what was reported."""

from alembic import op

revision = "0030"
down_revision = "0029"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS: dict[str, str] = {}  # all of it is new

COMMENTS = {
    "table refusal": "what a check has refused last, by kind of loss and by what has lost something; a run "
    "whose conf accepts losses accepts only these",
    "column refusal.scope": "the kind of loss, and of what; other kinds are reported and accepted apart",
    "column refusal.subject": "what has lost something, such as a source",
    "column refusal.remains": "what is left of it; if far less is left later, that was not reported",
    "column refusal.run": "the run that was refused, and how often it had been cleared by then: before the "
    "next time, it accepts nothing that it has reported itself",
}


def upgrade() -> None:
    op.execute("""
        create table refusal (
            scope text not null,
            subject text not null,
            remains bigint not null,
            says text not null,
            run text not null,
            refused_on timestamptz not null default clock_timestamp(),
            primary key (scope, subject)
        )
    """)
    for target, comment in COMMENTS.items():
        op.execute(f"comment on {target} is '{comment}'")
