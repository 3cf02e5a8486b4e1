"""Reminds reviewers of pull requests, by the urgency of the pull request and its waiting time in weekdays."""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import msgspec

from catalog.core.errors import Fatal, UnexpectedResponse
from catalog.core.jsontypes import JsonObject
from catalog.core.setting_values import Reviews
from catalog.core.settings import PR_REVIEW_REPOSITORIES
from catalog.maintenance.github import GitHub, Missing

log = logging.getLogger(__name__)
# Errors that a malformed or incomplete response causes, or a pull request that has meanwhile gone.
ODD = (AttributeError, KeyError, TypeError, ValueError, Missing, UnexpectedResponse)

MARKER = "This reminder is written automatically, by the urgency of the pull request."
LIMITS = {"critical": 1, "high": 3, "medium": 5, "low": 8}  # weekdays of waiting from which a reminder is due
GRACE = timedelta(minutes=2)  # by which `updated_at` of a pull request may follow the comment that changed it


class Reminder(msgspec.Struct, frozen=True):
    """A reminder to write.

    Attributes:
        repository: `owner/name`.
        number: Number of the pull request.
        urgency: A key of `LIMITS`.
        days: Waiting time in weekdays.
        reviewers: Logins of the requested reviewers.
        author: Login of the author; None if the account was deleted.
        stale: Ids of earlier reminders, which the new one replaces.
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
    """Return the reminders that are due, without writing them.

    A pull request that is malformed, or gone, is logged and skipped; if all of a repository are malformed,
    GitHub's answers are other ones than expected.

    Args:
        github: Client for the API.
        settings: Repositories, base branch and account of the reminders.
        today: The current UTC date.

    Raises:
        UnexpectedResponse: No pull request of a repository can be read.
        CatalogError: GitHub does not answer, or refuses a request, such as for the protection of a branch; or
            it has no such base branch.
    """
    found = []
    for repository in settings.repositories:
        approvals: dict[str, int] = {}
        pulls = github.pages(
            f"repos/{repository}/pulls", state="open", base=settings.base, sort="updated", direction="asc"
        )
        if not pulls:
            _require_branch(github, repository, settings.base)
        odd = 0
        for pull in pulls:
            try:
                reminder = _reminder(github, settings, repository, pull, today, approvals)
            except ODD as error:
                odd += not isinstance(error, Missing)
                number = pull.get("number") if isinstance(pull, dict) else None
                log.warning(
                    "The pull request %s#%s is skipped: %s: %s",
                    repository,
                    number,
                    type(error).__name__,
                    error,
                )
                continue
            if reminder:
                found.append(reminder)
        if pulls and odd == len(pulls):
            raise UnexpectedResponse(
                f"none of the {odd:,} pull requests of {repository} can be read; the log says why."
            )
    return found


def _require_branch(github: GitHub, repository: str, base: str) -> None:
    """Raise Fatal if there is no base branch: then no pull request has it, and nobody would be reminded."""
    try:
        github.call("GET", f"repos/{repository}/branches/{base}")
    except Missing:
        raise Fatal(
            f"GitHub shows no branch {base}, to which no pull request is open; correct `base` of the "
            f"Variable {PR_REVIEW_REPOSITORIES.name}, or let the token read the contents of the repository."
        ) from None
    except Fatal as error:  # the token may not read branches
        log.warning("whether %s has the branch %s is not known: %s", repository, base, error)


class OtherAccount(Fatal):
    """The token is not of the account that the setting names, so its comments would not be recognised."""


def write(github: GitHub, reminder: Reminder, bot: str) -> None:
    """Write a reminder as a comment, then delete the earlier ones; those already deleted are ignored.

    Args:
        github: Client for the API.
        reminder: The reminder.
        bot: Account whose comments count as reminders.

    Raises:
        OtherAccount: The comment is one of another account: the next run would write another one.
        UnexpectedResponse: GitHub does not show the comment; the earlier ones stay.
        CatalogError: A request failed.
    """
    issue = f"repos/{reminder.repository}/issues"
    written = github.call("POST", f"{issue}/{reminder.number}/comments", json={"body": reminder.text})
    if not isinstance(written, dict) or not isinstance(written.get("user"), dict):
        raise UnexpectedResponse("GitHub does not show the comment that it was asked to write.")
    if not _is(bot, author := _login(written["user"])):
        raise OtherAccount(
            f"the token belongs to {author}, but `bot` of the Variable {PR_REVIEW_REPOSITORIES.name} is "
            f"{bot}; correct one of them. Reminders of another account are not recognised, so no more were "
            "written."
        )
    for comment in reminder.stale:
        with suppress(Missing):
            github.call("DELETE", f"{issue}/comments/{comment}")


def weekdays_since(base: date, today: date) -> int:
    """Return the number of weekdays after `base` up to and including `today`.

    On a Monday it is 0 if `base` is on the weekend: reminders are written as the day begins, when nobody has
    had a weekday for a review yet.
    """
    days = (today - base).days
    if today.weekday() == 0 and days < 3:
        return 0
    return sum((base + timedelta(days=k)).weekday() < 5 for k in range(1, days + 1))


def urgency_of(labels: Iterable[JsonObject]) -> str | None:
    """Return the urgency in the first label with `priority` in its name; None if there is none."""
    name = next((n for label in labels if "priority" in (n := str(label.get("name", "")).lower())), "")
    return next((urgency for urgency in LIMITS if urgency in name), None)


def _reminder(
    github: GitHub,
    settings: Reviews,
    repository: str,
    pull: JsonObject,
    today: date,
    approvals: dict[str, int],
) -> Reminder | None:
    """Return the reminder of a pull request; None if none is due.

    Args:
        github: Client for the API.
        settings: Base branch and account of the reminders.
        repository: `owner/name`.
        pull: The pull request, as GitHub describes it.
        today: The current UTC date.
        approvals: Number of approvals that a branch requires, by branch; filled as branches are looked up.
    """
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
        if _is(settings.bot, _login(c["user"])) and MARKER in (c.get("body") or "")
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
    """Return the number of reviewers whose last review, other than a comment, is an approval."""
    last = {}
    for review in github.pages(f"repos/{repository}/pulls/{number}/reviews"):
        reviewer = _login(review["user"])
        if reviewer and review["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
            last[reviewer] = review["state"]
    return sum(state == "APPROVED" for state in last.values())


def _required(github: GitHub, repository: str, branch: str, base: str, known: dict[str, int]) -> int:
    """Return the number of approvals that a branch requires; by default that of the base branch, or 1."""
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


def _login(user: JsonObject | None) -> str | None:
    """Return the login; None if the account was deleted."""
    return user["login"] if user else None


def _is(bot: str, login: str | None) -> bool:
    """Return whether a login is that of the account; case does not matter to GitHub."""
    return login is not None and login.casefold() == bot.casefold()


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d{2}-\d{2}T", value):
        raise UnexpectedResponse(f"GitHub returned {value!r} instead of a time.")
    return datetime.fromisoformat(value).astimezone(UTC)
