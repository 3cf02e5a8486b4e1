"""What a check of links has reported, so that nothing else is accepted, and the conf of its run."""

from alembic import op

revision = "0032"
down_revision = "0031"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"link_survey": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table link_survey add column left_due integer, add column conf jsonb")
    op.execute(
        "comment on column link_survey.left_due is"
        " 'of the provider, by the checks of any run; null: an earlier release has not kept it'"
    )
    op.execute(
        "comment on column link_survey.conf is"
        " 'the conf of the run; null: an earlier release has planned the survey'"
    )
