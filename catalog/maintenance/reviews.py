"""Reminders of pull requests that wait for a review, by urgency and waiting time in weekdays."""

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from catalog.core.errors import Fatal, UnexpectedResponse
from catalog.core.setting import Reviews
from catalog.maintenance.github import GitHub, Missing

log = logging.getLogger(__name__)
# What an answer that lacks something, or holds something else, leads to.
ODD = (AttributeError, KeyError, TypeError, ValueError, Fatal, UnexpectedResponse)

MARKER = "This reminder is written automatically, by the urgency of the pull request."
LIMITS = {
    "critical": 1,
    "high": 3,
    "medium": 5,
    "low": 8,
}  # weekdays: at least 1, more than 2, more than 4, more than 7
GRACE = timedelta(minutes=2)  # a comment changes its pull request's `updated_at` a moment after it was made


class Reminder(msgspec.Struct, frozen=True):
    """A pull request that is to be reminded of.

    Attributes:
        author: None when the account was deleted.
        stale: Ids of earlier reminders, which go when the new one is there.
    """

    repository: str
    number: int
    urgency: str
    days: int
    reviewers: tuple[str, ...]
    author: str | None
    stale: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        mentions = "\n".join(f"@{login}" for login in self.reviewers)
        author = f"@{self.author}, if" if self.author else "If"
        return (
            f"Based on its label, this pull request is of **{self.urgency}** urgency and waits for a review:"
            f"\n\n{mentions}\n{MARKER}\n\n"
            f"It has been waiting for {self.days} weekday(s)[^1]; {self.urgency} ones are due before "
            f"{LIMITS[self.urgency]}[^2].\n\n"
            f"{author} it is not ready for a review, please make it a draft.\n\n"
            "[^1]: Saturdays and Sundays do not count.\n"
            "[^2]: Monday to Friday; reminders are written at midnight UTC, so a day may look off by one.\n"
        )


def due(github: GitHub, settings: Reviews, today: date) -> list[Reminder]:
    """All reminders that are to be written today; nothing is written yet.

    A pull request that is not as GitHub describes them is left out, and named in the log.
    """
    found = []
    for repository in settings.repositories:
        approvals: dict[str, int] = {}
        pulls = github.pages(
            f"repos/{repository}/pulls", state="open", base=settings.base, sort="updated", direction="asc"
        )
        for pull in pulls:
            try:
                reminder = _reminder(github, settings, repository, pull, today, approvals)
            except ODD as error:
                number = pull.get("number") if isinstance(pull, dict) else None
                log.warning("%s#%s is left out: %s: %s", repository, number, type(error).__name__, error)
                continue
            if reminder:
                found.append(reminder)
    return found


def write(github: GitHub, reminder: Reminder) -> None:
    """Write the new reminder, then delete the stale ones, of which some may be deleted already."""
    issue = f"repos/{reminder.repository}/issues"
    github.call("POST", f"{issue}/{reminder.number}/comments", json={"body": reminder.text})
    for comment in reminder.stale:
        with suppress(Missing):
            github.call("DELETE", f"{issue}/comments/{comment}")


def weekdays_since(base: date, today: date) -> int:
    """Return the number of weekdays after `base`, today included, a Monday after a weekend not."""
    days = (today - base).days
    if today.weekday() == 0 and days < 3:
        return 0
    return sum((base + timedelta(days=k)).weekday() < 5 for k in range(1, days + 1))


def urgency_of(labels: list[Mapping[str, Any]]) -> str | None:
    """Of the first label that speaks of priority; None when there is none, or one that we do not know."""
    name = next((n for label in labels if "priority" in (n := str(label.get("name", "")).lower())), "")
    return next((urgency for urgency in LIMITS if urgency in name), None)


def _reminder(
    github: GitHub,
    settings: Reviews,
    repository: str,
    pull: Mapping[str, Any],
    today: date,
    approvals: dict[str, int],
) -> Reminder | None:
    urgency = urgency_of(pull["labels"])
    reviewers = tuple(login for user in pull["requested_reviewers"] if (login := _login(user)))
    if pull["draft"] or not reviewers or urgency is None:
        return None
    issue, number = f"repos/{repository}/issues/{pull['number']}", pull["number"]
    events = github.pages(f"{issue}/events")
    ready = [e["created_at"] for e in events if e.get("event") == "ready_for_review"]
    days = weekdays_since(_moment(max(ready, default=pull["created_at"])).date(), today)
    if days < LIMITS[urgency]:
        return None
    earlier = [
        c
        for c in github.pages(f"{issue}/comments")
        if _login(c["user"]) == settings.bot and MARKER in (c.get("body") or "")
    ]
    if any(_moment(c["created_at"]) + GRACE >= _moment(pull["updated_at"]) for c in earlier):
        return None  # nothing has happened since the last reminder
    if _approvals(github, repository, number) >= _required(
        github, repository, pull["base"]["ref"], settings.base, approvals
    ):
        return None
    return Reminder(
        repository, number, urgency, days, reviewers, _login(pull["user"]), tuple(c["id"] for c in earlier)
    )


def _approvals(github: GitHub, repository: str, number: int) -> int:
    """Return the reviewers whose last review other than a comment is an approval."""
    last = {}
    for review in github.pages(f"repos/{repository}/pulls/{number}/reviews"):
        reviewer = _login(review["user"])
        if reviewer and review["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
            last[reviewer] = review["state"]
    return sum(state == "APPROVED" for state in last.values())


def _required(github: GitHub, repository: str, branch: str, base: str, known: dict[str, int]) -> int:
    """Return the approvals that the protection of a branch requires, or that of the base branch, or 1."""
    if branch not in known:
        try:
            protection = github.call("GET", f"repos/{repository}/branches/{branch}/protection") or {}
        except Missing:
            protection = {}
        count = (protection.get("required_pull_request_reviews") or {}).get("required_approving_review_count")
        if count is None:
            count = 1 if branch == base else _required(github, repository, base, base, known)
        known[branch] = int(count)
    return known[branch]


def _login(user: Mapping[str, Any] | None) -> str | None:
    """None for an account that was deleted."""
    return user["login"] if user else None


def _moment(text: str) -> datetime:
    if not isinstance(text, str) or not re.match(r"\d{4}-\d{2}-\d{2}T", text):
        raise Fatal(f"GitHub gave {text!r} as a moment.")
    return datetime.fromisoformat(text).astimezone(UTC)
