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
    "column refusal.cleared": "how often the run had been cleared when it was refused: before the next time, "
    "it accepts nothing that it has reported itself",
    "column refusal.accepted_by": "the run that has accepted it, for its report",
    "column refusal.healed": "nothing was found since, so it covers nothing; kept for the report of the run",
}


def upgrade() -> None:
    op.execute("""
        create table refusal (
            scope text not null,
            subject text not null,
            remains bigint not null,
            says text not null,
            dag_id text not null,
            run_id text not null,
            cleared integer not null,
            refused_on timestamptz not null default clock_timestamp(),
            accepted_by text,
            healed boolean not null default false,
            primary key (scope, subject)
        )
    """)
    for target, comment in COMMENTS.items():
        op.execute(f"comment on {target} is '{comment}'")
