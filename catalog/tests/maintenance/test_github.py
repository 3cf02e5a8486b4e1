"""Reminders of reviews and checks of closed issues, against a server with GitHub's REST API."""

import re
from datetime import date

import pytest
from werkzeug import Response

from catalog.core.errors import Fatal, UnexpectedResponse
from catalog.core.secrets import Secret
from catalog.core.setting_values import Reviews, Silencing, SkippedError
from catalog.maintenance.github import GitHub
from catalog.maintenance.reviews import MARKER, OtherAccount, due, urgency_of, weekdays_since, write
from catalog.maintenance.silenced import MISSING, NO_ISSUE, OPEN, closed_issues, issue_state
from catalog.notifications.alerts import stale_entries
from catalog.tests.maintenance.github_server import FakeGitHub, json_response

pytestmark = pytest.mark.enable_socket
FRIDAY = date(2024, 3, 15)
SETTINGS = Reviews(("owner/name",), "the-bot")


@pytest.fixture
def fake(httpserver):
    fake = FakeGitHub()
    httpserver.expect_request(re.compile("/repos/.*")).respond_with_handler(fake)
    return fake


@pytest.fixture
def github(httpserver, fake):
    return GitHub(Secret("key"), httpserver.url_for("").rstrip("/"))


def pull(number, label="🟧 priority: high", created="2024-03-11T09:00:00Z", **changes):
    return {
        "number": number,
        "draft": False,
        "labels": [{"name": "goal: x"}, {"name": label}],
        "requested_reviewers": [{"login": "ada"}],
        "user": {"login": "grace"},
        "created_at": created,
        "updated_at": created,
        "base": {"ref": "main"},
        **changes,
    }


def numbers(github, settings=SETTINGS, today=FRIDAY):
    return [r.number for r in due(github, settings, today)]


@pytest.mark.parametrize(
    ("base", "today", "days"),
    [  # Monday is the 11th
        ("2024-03-08", "2024-03-11", 1),
        ("2024-03-07", "2024-03-11", 2),
        ("2024-03-09", "2024-03-11", 0),
        ("2024-03-10", "2024-03-11", 0),
        ("2024-03-11", "2024-03-15", 4),
        ("2024-03-04", "2024-03-11", 5),
        ("2024-03-16", "2024-03-17", 0),
        ("2024-03-15", "2024-03-15", 0),
    ],
)
def test_weekdays(base, today, days):
    assert weekdays_since(date.fromisoformat(base), date.fromisoformat(today)) == days


@pytest.mark.parametrize(
    ("label", "days_and_due"),
    [
        ("priority: critical", {0: False, 1: True}),
        ("Priority: HIGH", {2: False, 3: True}),
        ("priority: medium", {4: False, 5: True}),
        ("low-priority", {7: False, 8: True}),
        ("priority: whenever", {30: False}),
        ("bug", {30: False}),
    ],
)
def test_a_review_is_due_after_days_that_depend_on_the_priority(fake, github, label, days_and_due):
    today = {0: 11, 1: 12, 2: 13, 3: 14, 4: 15, 5: 18, 7: 20, 8: 21, 30: 30}
    fake.pulls["owner/name"] = [pull(1, label)]
    for days, expected in days_and_due.items():
        assert bool(numbers(github, today=date(2024, 3, today[days]))) is expected, days


def test_pull_requests_without_a_reminder(fake, github):
    """Some get none: drafts, those of other branches, approved and recently ready ones.

    Nor do those without reviewers or without a priority. A request for changes is not an approval.
    """
    fake.pulls["owner/name"] = [
        pull(1),
        pull(2, draft=True),
        pull(3, requested_reviewers=[]),
        pull(4, "bug"),
        pull(5, base={"ref": "other"}),
        pull(6),
        pull(7),
        pull(8),
    ]
    reviews = [("ada", "APPROVED"), ("bob", "COMMENTED"), ("cy", "CHANGES_REQUESTED")]
    fake.reviews[6] = [{"user": {"login": who}, "state": state} for who, state in reviews]
    fake.events[7] = [
        {"event": "labeled", "created_at": "2024-03-01T00:00:00Z"},
        {"event": "ready_for_review", "created_at": "2024-03-14T00:00:00Z"},
    ]
    fake.reviews[8] = [
        {"user": {"login": "ada"}, "state": "APPROVED"},
        {"user": {"login": "ada"}, "state": "CHANGES_REQUESTED"},
    ]
    assert numbers(github) == [1, 8]
    assert {k: fake.asked[k] for k in ("state", "base", "per_page")} == {
        "state": "open",
        "base": "main",
        "per_page": "100",
    }


@pytest.mark.parametrize(
    ("protection", "is_due"),
    [({"main": 2}, True), ({"main": 1}, False), ({"main": None}, False), ({}, False)],
)
def test_approvals_that_a_branch_requires(fake, github, protection, is_due):
    fake.protection = protection
    fake.pulls["owner/name"] = [pull(1)]
    fake.reviews[1] = [{"user": {"login": "ada"}, "state": "APPROVED"}]
    assert bool(numbers(github)) is is_due


def test_a_token_that_may_not_read_the_protection_of_branches(fake, github, monkeypatch):
    """Such a refusal concerns all pull requests: without an error, nobody would notice that none is due."""
    refusal = json_response({"message": "not accessible"}, 403)
    monkeypatch.setattr(fake, "_protection", lambda *_: refusal)
    fake.pulls["owner/name"] = [pull(1)]
    said = "403 to GET /repos/owner/name/branches/main/protection: GITHUB_API_KEY is missing, or lacks"
    with pytest.raises(Fatal, match=said):
        due(github, SETTINGS, FRIDAY)
    refusal.headers["X-Accepted-GitHub-Permissions"] = "administration=read"
    with pytest.raises(Fatal, match=r"lacks a right \(it needs administration=read\); see the DAG"):
        due(github, SETTINGS, FRIDAY)
    refusal.status_code = 401
    with pytest.raises(Fatal, match=r"401 .*: GITHUB_API_KEY is wrong, or has expired"):
        due(github, SETTINGS, FRIDAY)


@pytest.mark.parametrize("field", ["events", "comments", "reviews"])
def test_a_pull_request_that_is_gone_affects_no_other(fake, github, field, monkeypatch):
    answer = fake._list
    gone = ("1", field)
    monkeypatch.setattr(
        fake,
        "_list",
        lambda request, *about: json_response({}, 404) if about == gone else answer(request, *about),
    )
    fake.pulls["owner/name"] = [pull(1), pull(2)]
    assert numbers(github) == [2]


def test_a_reminder_replaces_the_one_before(fake, github):
    """None is written while nothing has happened since the last one."""
    fake.pulls["owner/name"] = [pull(1, updated_at="2024-03-14T12:00:00Z")]
    old = {
        "id": 5,
        "body": f"… {MARKER} …",
        "user": {"login": "the-bot"},
        "created_at": "2024-03-13T00:00:05Z",
    }
    others = [
        {"id": n, "body": MARKER, "user": {"login": "somebody"}, "created_at": "2024-03-14T12:00:00Z"}
        for n in (6, 7)
    ]
    fake.comments[1] = [*others, old]
    [reminder] = due(github, SETTINGS, FRIDAY)
    assert (reminder.stale, reminder.days) == ((5,), 4)
    write(github, reminder, "The-Bot")
    assert [c["id"] for c in fake.comments[1] if c["id"] < 1000] == [6, 7]
    text = fake.comments[1][-1]["body"]
    assert "@ada" in text
    assert "@grace" in text
    assert MARKER in text
    assert [m for m, _ in fake.calls if m != "GET"] == ["POST", "DELETE"]
    fake.pulls["owner/name"][0]["updated_at"] = "2024-03-15T00:00:06Z"
    assert numbers(github) == []


def test_a_token_of_another_account(fake, github):
    """The next run would not recognise its comments, and write others each day; the earlier ones stay."""
    fake.pulls["owner/name"] = [pull(1, updated_at="2024-03-14T12:00:00Z")]
    fake.comments[1] = [
        {"id": 5, "body": MARKER, "user": {"login": "The-Bot"}, "created_at": "2024-03-13T00:00:05Z"}
    ]
    [reminder] = due(github, SETTINGS, FRIDAY)
    assert reminder.stale == (5,)
    fake.account = "somebody"
    with pytest.raises(
        OtherAccount, match=r"token belongs to somebody, but `bot` .* is the-bot; correct one"
    ):
        write(github, reminder, "the-bot")
    assert fake.comments[1][0]["id"] == 5


def test_a_base_branch_that_does_not_exist(fake, github):
    """Nobody would be reminded, and nobody would notice."""
    fake.pulls["owner/name"] = [pull(1)]
    assert due(github, Reviews(("owner/quiet",), "the-bot"), FRIDAY) == []
    with pytest.raises(Fatal, match=r"no branch mian, .* correct `base` of the Variable PR_REVIEW_REPOS"):
        due(github, Reviews(("owner/name",), "the-bot", "mian"), FRIDAY)


def test_pull_requests_of_which_none_can_be_read(fake, github, monkeypatch):
    """One that is odd is skipped; if all are, the answers are other ones than expected."""
    monkeypatch.setattr(fake, "_pulls", lambda *_: json_response([odd(labels=None), odd(created_at=None)]))
    with pytest.raises(UnexpectedResponse, match="none of the 2 pull requests of owner/name can be read"):
        due(github, SETTINGS, FRIDAY)


@pytest.mark.parametrize(
    ("status", "headers"), [(301, {"Location": "/repos/owner/name/issues/1/comments"}), (304, {})]
)
def test_a_write_that_leads_elsewhere_is_none(fake, github, monkeypatch, status, headers):
    """Followed, it would be a GET, whose answer would be taken for that of the write."""
    fake.pulls["owner/name"] = [pull(1)]
    [reminder] = due(github, SETTINGS, FRIDAY)
    answer = fake._list
    monkeypatch.setattr(
        fake,
        "_list",
        lambda request, *about: (
            Response("", status, headers) if request.method == "POST" else answer(request, *about)
        ),
    )
    with pytest.raises(Fatal, match=rf"{status} to POST .* leads elsewhere; correct it \(GITHUB_API_URL"):
        write(github, reminder, "the-bot")


def test_a_deleted_issue(fake, github, monkeypatch):
    monkeypatch.setattr(fake, "_issue", lambda *_: Response("{}", 410))
    assert issue_state(github, f"{ISSUES}/1") == MISSING


def test_urgency():
    assert urgency_of([{"name": "bug"}, {"name": "Priority: Low"}, {"name": "priority: critical"}]) == "low"
    assert urgency_of([]) is None


ISSUES = "https://localhost/owner/name/issues"  # of the server that the tests start


def test_closed_issues(fake, github):
    fake.issues = {("owner/name", 1): "open", ("owner/name", 2): "closed"}
    entries: dict[str, list[Silencing | SkippedError]] = {
        "flickr_workflow": [
            Silencing(f"{ISSUES}/1", "stays"),
            Silencing(f"{ISSUES}/2", "TimeOut <b>", "pull.*"),
        ],
        "smk_workflow": [SkippedError(f"{ISSUES}/3", "missing")],
    }
    found = closed_issues(github, entries)
    assert [(c.dag_id, c.predicate, c.note) for c in found] == [
        ("flickr_workflow", "TimeOut <b>", ""),
        ("smk_workflow", "missing", MISSING),
    ]
    message = stale_entries("check_silenced_dags", "t", "SKIPPED_INGESTION_ERRORS", found)
    assert message.username == "Silenced DAG Check"
    assert message.text.splitlines()[1] == (
        "  - <https://localhost/owner/name/issues/2|flickr_workflow (pull.*): 'TimeOut &lt;b&gt;'>"
    )
    assert closed_issues(github, {}) == []


@pytest.mark.parametrize(
    "issue",
    [
        "",
        "x",
        "https://localhost/owner",
        f"{ISSUES}/x",
        "https://[/1/2/3/4",
        "https://gitlab.example.com/owner/name/issues/1",
        "https://github.com/owner/name/issues/1",  # another server than the enterprise's
        "https://localhost/owner/name/-/issues/1",
        "https://localhost/group/owner/name/issues/1",
        "https://localhost/owner/name/discussions/1",
        "/owner/name/issues/1",
    ],
)
def test_an_entry_without_an_issue_affects_no_other(fake, github, issue):
    """The alert has it and the others."""
    fake.issues = {("owner/name", 1): "open", ("owner/name", 2): "closed"}
    found = closed_issues(github, {"a": [Silencing(issue, "x"), Silencing(f"{ISSUES}/2", "y")]})
    assert [(c.predicate, c.note) for c in found] == [("x", NO_ISSUE), ("y", "")]
    text = stale_entries("d", "t", "V", found).text
    assert f"a: 'x'{'>' if issue.startswith('https') else ''} ({NO_ISSUE})" in text


@pytest.mark.parametrize(
    "url",
    [
        f"{ISSUES}/1#issuecomment-5",
        "http://LOCALHOST:80/owner/name/pull/1/",
        "https://localhost/repos/owner/name/pulls/1",
        "https://localhost/api/v3/repos/owner/name/issues/1",
    ],
)
def test_addresses_of_pages_and_of_the_api(fake, github, url):
    fake.issues = {("owner/name", 1): "open"}
    assert issue_state(github, url) == OPEN


def test_the_hosts_of_a_server():
    assert GitHub().hosts == {"api.github.com", "github.com"}
    assert GitHub(base="https://github.example.com/api/v3").hosts == {"github.example.com"}
    assert GitHub(base="https://api.octo.ghe.com/").hosts == {"api.octo.ghe.com", "octo.ghe.com"}


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"[]"), (200, b"{}"), (200, b"<html>"), (403, b"{}"), (451, b"")]
)
def test_an_unexpected_answer_about_an_issue_affects_only_its_entry(httpserver, status, body):
    httpserver.expect_request("/repos/owner/name/issues/1").respond_with_data(body, status)
    httpserver.expect_request("/repos/owner/name/issues/2").respond_with_json({"state": "closed"})
    github = GitHub(None, httpserver.url_for("").rstrip("/"))
    found = closed_issues(github, {"a": [Silencing(f"{ISSUES}/{n}", "x") for n in (1, 2)]})
    assert [(c.known, c.note[:27]) for c in found] == [(False, "it could not be looked up: "), (True, "")]
    message = stale_entries("d", "t", "V", found)
    assert message.title == "1 entries without an open issue"
    assert "issues/2|a: 'x'>\n*These may be right*" in message.text
    message = stale_entries("d", "t", "V", found[:1])
    assert message.title == "1 entries not checked"
    assert "remove" not in message.text


def odd(**changes):
    return {**pull(2), **changes}


ODD_PULLS = [
    None,
    "x",
    5,
    [],
    {},
    odd(labels=None),
    odd(labels=[None]),
    odd(requested_reviewers=None),
    odd(requested_reviewers=[5]),
    odd(created_at=None),
    odd(created_at="yesterday"),
    odd(created_at="2024-13-99T00:00:00Z"),
    odd(created_at=5),
    odd(base=None),
    odd(base={}),
    odd(user="x"),
    odd(user={}),
    odd(number=None),
    odd(updated_at=None),
]


@pytest.mark.parametrize("strange", ODD_PULLS)
def test_an_odd_pull_request_affects_no_other(fake, github, strange, monkeypatch):
    monkeypatch.setattr(fake, "_pulls", lambda *_: json_response([pull(1), strange, pull(3)]))
    fake.comments[2] = [{"user": {"login": "the-bot"}, "body": MARKER, "created_at": "2024-03-01T00:00:00Z"}]
    found = numbers(github)
    assert [n for n in found if n != 2] == [1, 3]


@pytest.mark.parametrize("field", ["events", "comments", "reviews"])
@pytest.mark.parametrize(
    "strange", [None, 5, {}, {"event": "ready_for_review"}, {"user": 5, "state": "APPROVED"}]
)
def test_an_odd_entry_of_a_pull_request_affects_no_other(fake, github, field, strange):
    fake.pulls["owner/name"] = [pull(1), pull(2)]
    getattr(fake, field)[1] = [strange]
    assert 2 in numbers(github)


def test_deleted_accounts(fake, github):
    """GitHub has `null` for authors, commenters and reviewers, and for the body of an empty comment."""
    fake.pulls["owner/name"] = [pull(1, user=None, requested_reviewers=[None, {"login": "ada"}])]
    fake.comments[1] = [{"id": 1, "user": None, "body": None, "created_at": "2024-03-14T00:00:00Z"}]
    fake.reviews[1] = [{"user": None, "state": "APPROVED"}]
    [reminder] = due(github, SETTINGS, FRIDAY)
    assert reminder.reviewers == ("ada",)
    assert "\n\nIf it is not ready for a review" in reminder.text
    assert "None" not in reminder.text
