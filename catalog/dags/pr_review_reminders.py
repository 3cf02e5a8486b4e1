"""Reminds reviewers of pull requests that have waited too long, on every weekday.

How long is too long depends on the first label of the pull request that speaks of priority:

| Priority | Reminded after |
| --- | --- |
| critical | 1 weekday |
| high | more than 2 weekdays |
| medium | more than 4 weekdays |
| low | more than 7 weekdays |

The days count from when the pull request was opened, or last became ready for review; weekends do not count. Drafts, those without a
priority or without requested reviewers, and those that have enough approvals are left alone. Somebody who has reviewed is not asked again,
because GitHub takes them from the requested reviewers. A new reminder replaces the one before, and there is none while nothing has happened
since.

The Variable `PR_REVIEW_REPOSITORIES` says where: `{"repositories": ["owner/name"], "bot": "login of the token", "base": "main"}`; the
token is `GITHUB_API_KEY`. Reminders are only written when `PR_REVIEW_REMINDER_DRY_RUN` is `false`; otherwise the task log shows them.
"""

import logging
from datetime import UTC, date, datetime

import msgspec
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.errors import Fatal
from catalog.core.settings import PR_REVIEW_REMINDER_DRY_RUN, PR_REVIEW_REPOSITORIES
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.github import github
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.variables import value_of

log = logging.getLogger(__name__)


@task
def pr_review_reminder_operator() -> list[str]:
    """The pull requests that were reminded of, or would have been."""
    from catalog.maintenance.reviews import due, write

    reviews = value_of(PR_REVIEW_REPOSITORIES)
    if reviews is None:
        raise AirflowSkipException(
            "the Variable PR_REVIEW_REPOSITORIES is not set; it names repositories and the bot."
        )
    dry_run, client = value_of(PR_REVIEW_REMINDER_DRY_RUN), github()
    today = datetime.now(UTC).date()
    reminders, problems = [], []
    with task_failures():
        for repository in reviews.repositories:
            try:
                reminders += due(client, msgspec.structs.replace(reviews, repositories=(repository,)), today)
            except Fatal as error:
                problems.append(f"{repository}: {error}")
        for reminder in reminders:
            log.info("%s#%d, %s, %d weekdays%s", reminder.repository, reminder.number, reminder.urgency, reminder.days,
                     f", DRY RUN:\n{reminder.text}" if dry_run else "")  # fmt: skip
            if dry_run:
                continue
            try:
                write(client, reminder)
            except Fatal as error:
                problems.append(f"{reminder.repository}#{reminder.number}: {error}")
    if problems:
        raise AirflowFailException(f"the others were reminded of; not {'; '.join(problems)}")
    return [f"{r.repository}#{r.number}" for r in reminders]


with catalog_dag(
    "pr_review_reminders",
    "maintenance",
    schedule="0 0 * * 1-5",
    doc=(__doc__ or "").strip(),
    start_date=date(2022, 6, 9),
):
    pr_review_reminder_operator()
