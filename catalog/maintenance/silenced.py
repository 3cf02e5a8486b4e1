"""Finds entries that silence messages or skip errors although their GitHub issue is closed or missing."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from catalog.core.errors import Fatal, UnexpectedResponse
from catalog.core.setting_values import Silencing, SkippedError
from catalog.maintenance.github import GitHub, Missing

OPEN, CLOSED = "open", "closed"
MISSING = "no such issue, or the token may not see it"
NO_ISSUE = "not the URL of an issue of the GitHub server that is asked"
_PATH = re.compile(r"(?:(?:/api/v3)?/repos)?/([\w.-]+)/([\w.-]+)/(?:issues|pulls?)/([0-9]+)/?")
STALE = (CLOSED, MISSING, NO_ISSUE)  # states after which an entry has to be changed


class Closed(msgspec.Struct, frozen=True):
    """An entry whose issue is closed, cannot be found, or could not be looked up.

    Attributes:
        dag_id: The DAG whose messages or errors the entry matches.
        issue: URL of the issue.
        predicate: The string that a message or an error must contain.
        pattern: Regular expression that the task id must match; None for all tasks.
        note: The problem with the issue; empty if it is closed.
        known: False if GitHub has not said what state the issue is in.
    """

    dag_id: str
    issue: str
    predicate: str
    pattern: str | None = None
    note: str = ""
    known: bool = True


def closed_issues(github: GitHub, entries: Mapping[str, Sequence[Silencing | SkippedError]]) -> list[Closed]:
    """Return the entries whose issue is not open, or could not be looked up.

    Args:
        github: Client for the API.
        entries: Entries of one of the two Variables, by DAG id.

    Raises:
        Retry: GitHub is unreachable, answers with a server error, or limits the rate.
    """
    found, states = [], dict[str, str]()
    for dag_id, entries_of_dag in entries.items():
        for entry in entries_of_dag:
            url = entry.issue
            if url not in states:
                states[url] = _state_or_note(github, url)
            if states[url] != OPEN:
                note = "" if states[url] == CLOSED else states[url]
                pattern = getattr(entry, "task_id_pattern", None)
                found.append(Closed(dag_id, url, entry.predicate, pattern, note, states[url] in STALE))
    return found


def _state_or_note(github: GitHub, url: str) -> str:
    try:
        return issue_state(github, url)
    except (Fatal, UnexpectedResponse) as error:
        return f"it could not be looked up: {error}"


def issue_state(github: GitHub, url: str) -> str:
    """Return the state of an issue.

    Args:
        github: Client for the API.
        url: Address of the page or of the API resource of an issue or pull request. An address of another
            host, or of another form, is none: its number may be that of somebody else's issue.

    Returns:
        `OPEN`, or one of `STALE`.

    Raises:
        UnexpectedResponse: The response has no valid state.
        CatalogError: The request failed.
    """
    try:
        address = urlsplit(url)
    except ValueError:
        return NO_ISSUE
    path = _PATH.fullmatch(address.path)
    if address.hostname not in github.hosts or not path:
        return NO_ISSUE
    owner, repository, number = path.groups()
    try:
        found = github.call("GET", f"repos/{owner}/{repository}/issues/{number}")
    except Missing:
        return MISSING
    state = found.get("state") if isinstance(found, dict) else None
    if state not in (OPEN, CLOSED):
        raise UnexpectedResponse(f"GitHub returned no state of the issue {owner}/{repository}#{number}.")
    return str(state)
