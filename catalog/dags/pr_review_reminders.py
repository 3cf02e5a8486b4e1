"""Reminds reviewers of pull requests that have waited too long, on every weekday.

The limit depends on the pull request's first priority label:

| Priority | Reminded after |
| --- | --- |
| critical | 1 weekday |
| high | more than 2 weekdays |
| medium | more than 4 weekdays |
| low | more than 7 weekdays |

Days are counted from the moment the pull request was opened or last became ready for review, without
weekends. Drafts, pull requests without a priority or without requested reviewers, and those with enough
approvals get no reminder. A reviewer who has submitted a review is not reminded, because GitHub removes them
from the requested reviewers. A new reminder replaces the previous one; none is written while nothing has
happened since.

The Variable `PR_REVIEW_REPOSITORIES` names the repositories: `{"repositories": ["owner/name"], "bot": "login
of the token", "base": "main"}`. Reminders are only written if `PR_REVIEW_REMINDER_DRY_RUN` is `false`;
otherwise the task log shows them.

The token is `GITHUB_API_KEY`. A fine-grained one needs *Pull requests: write* for these repositories, and
*Administration: read* to see how many approvals a branch requires; a classic one needs `repo`. If GitHub
refuses a request, the repository gets no reminders, and the run fails and names it. So it does if there is no
`base`, or the token is not that of the `bot`. Where GitHub knows no
protection, one approval is enough; it says so to a classic token as well if its owner is no administrator.
"""

import logging
from datetime import UTC, date, datetime

import msgspec
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from catalog.core.errors import CatalogError, Retry
from catalog.core.settings import PR_REVIEW_REMINDER_DRY_RUN, PR_REVIEW_REPOSITORIES
from catalog.dags.common.github import github
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.maintenance.reviews import OtherAccount, due, write

log = logging.getLogger(__name__)


@task
def pr_review_reminder_operator() -> list[str]:
    """Return the pull requests that got a reminder, or would have got one."""
    reviews = value_of(PR_REVIEW_REPOSITORIES)
    if reviews is None:
        raise AirflowSkipException(
            "the Variable PR_REVIEW_REPOSITORIES is not set; it names repositories and the bot."
        )
    dry_run, client = value_of(PR_REVIEW_REMINDER_DRY_RUN), github()
    today = datetime.now(UTC).date()
    reminders, problems = [], dict[str, CatalogError]()
    for repository in reviews.repositories:
        try:
            reminders += due(client, msgspec.structs.replace(reviews, repositories=(repository,)), today)
        except CatalogError as error:
            problems[repository] = error
    for reminder in reminders:
        log.info(
            "%s#%d, %s, %d weekdays%s",
            reminder.repository,
            reminder.number,
            reminder.urgency,
            reminder.days,
            f", DRY RUN:\n{reminder.text}" if dry_run else "",
        )
        if dry_run:
            continue
        try:
            write(client, reminder, reviews.bot)
        except OtherAccount:
            raise
        except CatalogError as error:
            problems[f"{reminder.repository}#{reminder.number}"] = error
    if problems:
        done = "shown; none is written in a dry run" if dry_run else "written"
        said = "; ".join(f"{name}: {error}" for name, error in problems.items())
        temporary = any(isinstance(error, Retry) for error in problems.values())
        kind = AirflowException if temporary else AirflowFailException
        raise kind(f"all other reminders were {done}; not {said}")
    return [f"{r.repository}#{r.number}" for r in reminders]


with catalog_dag(
    "pr_review_reminders",
    "maintenance",
    schedule="0 0 * * 1-5",
    doc=(__doc__ or "").strip(),
    start_date=date(2022, 6, 9),
):
    pr_review_reminder_operator()
