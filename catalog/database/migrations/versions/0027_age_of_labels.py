"""When the file of a run of labels was last changed, so that an older one does not replace newer labels."""

from alembic import op

revision = "0027"
down_revision = "0026"
# Existing table or view → the strongest lock on it, and for how long.
LOCKS = {"label_run": "ACCESS EXCLUSIVE, an instant"}


def upgrade() -> None:
    op.execute("alter table label_run add column file_changed_on timestamptz")
    op.execute(
        "comment on column label_run.file_changed_on is"
        " 'last change of the file, as its storage knows it; null: not known'"
    )
