"""What a check of links would remove and has not, and when removals beyond the usual were accepted."""

from alembic import op

revision = "0026"
down_revision = "0025"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"link_survey": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute(
        "alter table link_survey add column left_gone integer, add column too_many boolean,"
        " add column accepted_on timestamptz"
    )
    op.execute(
        "comment on column link_survey.left_gone is"
        " 'records that are gone for long enough to be removed, and were not'"
    )
    op.execute("comment on column link_survey.too_many is 'they were not because they are too many'")
    op.execute(
        "comment on column link_survey.accepted_on is"
        " 'when removals beyond the usual were accepted; earlier ones, and those of the run, count no more'"
    )
